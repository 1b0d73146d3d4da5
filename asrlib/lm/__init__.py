"""Language models over the pieces of a tokenizer, and phrases that a search favours."""

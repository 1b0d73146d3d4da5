"""Speaker extractors, from an utterance to a vector, with their losses and the model's file."""

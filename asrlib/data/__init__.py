"""Data preparation: from corpora to the batches of training and validation."""

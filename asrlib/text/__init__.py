"""Transcripts: normalisation, tokens, times of words, and turns of talkers."""

from asrlib.text.normalise import normalise
from asrlib.text.tokenizer import Tokenizer, TokensConfig, train_tokenizer

__all__ = ["Tokenizer", "TokensConfig", "normalise", "train_tokenizer"]

"""A small tokenizer for the tests of language models."""

from pathlib import Path

from asrlib.text.tokenizer import Tokenizer, TokensConfig, train_tokenizer

WORDS = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "RUBOUT", "ERASE", "GO", "THREE", "FIVE", "SEVEN", "NINE"]


def small_tokenizer(folder: Path) -> Tokenizer:
    path = folder / "bpe.model"
    train_tokenizer(WORDS * 20, TokensConfig(vocab_size=100), path)
    return Tokenizer.from_file(path)

"""A small tokenizer for the tests of language models."""

import pytest

from asrlib.text.tokenizer import Tokenizer, TokensConfig, train_tokenizer

WORDS = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "RUBOUT", "ERASE", "GO", "THREE", "FIVE", "SEVEN", "NINE"]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokens") / "bpe.model"
    train_tokenizer(WORDS * 20, TokensConfig(vocab_size=100), path)
    return Tokenizer.from_file(path)

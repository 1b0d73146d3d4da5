"""Perplexity per word, and `train-lm --judge`."""

from __future__ import annotations

import math

import pytest
from lm_fakes import small_tokenizer

from asrlib.lm.kneser_ney import NgramTable, train_ngrams
from asrlib.lm.perplexity import perplexity


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return small_tokenizer(tmp_path_factory.mktemp("tokens"))


def pieces_of(tokenizer, text: str) -> list[str]:
    return [tokenizer.piece(i) for i in tokenizer.encode(text)]


def test_a_uniform_model_has_the_size_of_its_vocabulary(tokenizer):
    pieces = sorted({*pieces_of(tokenizer, "A B C"), "</s>"})
    uniform = NgramTable(({(p,): -math.log(len(pieces)) for p in pieces},), {})
    found = perplexity(uniform, tokenizer, ["A B C", "A"])
    per_piece = (len(pieces_of(tokenizer, "A B C")) + len(pieces_of(tokenizer, "A")) + 2) / 6
    assert found.all == pytest.approx(len(pieces) ** per_piece)
    assert found.words == 4


def test_spelled_sentences_are_counted_apart(tokenizer):
    texts = ["A B C", "GO"]
    every = [p for text in texts for p in pieces_of(tokenizer, text)]
    table = train_ngrams([pieces_of(tokenizer, "A B C")] * 9, 2, every)
    found = perplexity(table, tokenizer, texts)
    assert found.spelled is not None
    assert found.spelled < found.all
    assert perplexity(table, tokenizer, ["GO", "Ñ"]).spelled is None
    assert perplexity(table, tokenizer, ["GO", "Ñ"]).skipped == 1

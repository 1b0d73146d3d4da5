"""Perplexity per word, and `train-lm --judge`."""

from __future__ import annotations

import math

import pytest
from command_fakes import call, explained
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


def test_a_model_is_judged_on_a_set_that_is_there_and_named_once(tmp_path):
    (tmp_path / "data" / "lang").mkdir(parents=True)
    small_tokenizer(tmp_path / "data" / "lang")
    text = tmp_path / "text"
    text.write_text("A B C\nGO\n" * 20)
    given = ("train-lm", "--recipe-dir", tmp_path, "--text", text, "--order", "2", "--name")
    told = call(*given, "x.arpa", "--judge", "tets")
    assert explained(told, "data/tets/cuts.jsonl.gz: missing", "choose another --judge")
    assert not (tmp_path / "data" / "lm").exists()
    assert call(*given, "x.arpa").code == 0
    assert call(*given, "y").code == 0
    assert {p.name for p in (tmp_path / "data" / "lm").iterdir()} == {"x.arpa", "y.arpa"}


def test_a_text_in_other_characters_is_named(tmp_path):
    (tmp_path / "data" / "lang").mkdir(parents=True)
    small_tokenizer(tmp_path / "data" / "lang")
    text = tmp_path / "text"
    text.write_text("ÑÑ\nÑ\n")
    given = ("train-lm", "--recipe-dir", tmp_path, "--text", text, "--name", "x")
    assert explained(call(*given), "all 2 sentences have characters without a piece")
    text.write_text("ÑÑ\nGO\n")
    assert call(*given).code == 0

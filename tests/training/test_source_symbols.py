"""Training with the source as the predictor's first symbol: batches, loss, decoding, identity."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_fakes import Outcome, call, explained
from small_transducer import TEXTS, write_recipe

from asrlib.data.source_symbols import SourceSymbols
from asrlib.recipe import Recipe
from asrlib.text.tokenizer import BLANK_ID, TokensConfig, train_tokenizer
from asrlib.training.build import load_configs
from asrlib.training.transducer_task import TransducerTask
from asrlib.transducer.model_io import load_transducer

SOURCES = {"p0": "an4", "p1": "so762", "p2": ""}  # speakers of write_recipe


def write_speakers(recipe: Path, sources: dict[str, str], column: str = "corpus") -> None:
    with open(recipe / "data" / "speakers.tsv", "w", newline="") as f:
        table = csv.writer(f, delimiter="\t")
        table.writerow(["speaker", "set", column])
        table.writerows([speaker, "train", source] for speaker, source in sources.items())


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A recipe whose tokens have two sources."""
    directory = write_recipe(tmp_path / "egs" / "small")
    config = TokensConfig(vocab_size=18, sources="corpus")
    model = directory / "data" / "lang" / "bpe.model"
    train_tokenizer(TEXTS, config, model, {"an4", "so762"})
    write_speakers(directory, SOURCES)
    return directory


def task_of(recipe: Path) -> TransducerTask:
    configs = load_configs(Recipe(recipe), "tiny")
    task = configs.build_task(recipe / "data", None)
    assert isinstance(task, TransducerTask)
    return task


def test_batches_begin_with_the_symbol_of_their_speakers_source(recipe):
    task = task_of(recipe)
    tokenizer, sources = task.tokenizer, task.source.sources
    assert sources.symbols == {s: tokenizer.first_symbol(v) for s, v in SOURCES.items() if v}
    cuts = {cut.id: cut for cut in [*task.source.train, *task.source.dev]}
    for batch in task.dev_batches():  # nothing is left untold there
        told = [SOURCES[cuts[i].supervisions[0].speaker] or None for i in batch.ids]
        assert batch.first_B.tolist() == [tokenizer.first_symbol(source) for source in told]
    for epoch in (0, 1):
        for batch in task.train_batches(epoch, 0):
            assert torch.equal(batch.first_B, sources.drawn([cuts[i] for i in batch.ids], 1, epoch))


def test_a_share_of_the_utterances_is_not_told(recipe):
    cuts = list(task_of(recipe).source.train)
    told = SourceSymbols({"p0": 7, "p1": 8}, unknown=0.5)
    drawn = torch.stack([told.drawn(cuts, 1, epoch) for epoch in range(200)])
    known = told.of(cuts) != BLANK_ID
    assert not drawn[:, ~known].any()
    assert torch.equal(told.drawn(cuts, 1, 3), drawn[3])
    assert 0.45 < float((drawn[:, known] == BLANK_ID).float().mean()) < 0.55


def test_the_loss_is_that_of_the_first_symbol(recipe):
    task = task_of(recipe)
    task.model.eval()
    batch = next(iter(task.dev_batches()))
    untold = replace(batch, first_B=torch.full_like(batch.first_B, BLANK_ID))
    differs = task.loss(batch, 9).per_item_B != task.loss(untold, 9).per_item_B
    assert torch.equal(differs, batch.first_B != BLANK_ID)
    rest = {k: getattr(untold, k) for k in ("x_BTF", "x_lengths_B", "tokens_BU", "token_lengths_B")}
    plain = task.model.loss(*rest.values(), 9).total_B
    assert torch.equal(task.loss(untold, 9).per_item_B, plain)


def test_without_sources_batches_begin_with_blank(tmp_path):
    task = task_of(write_recipe(tmp_path / "small"))
    assert task.source.sources is None
    assert not any(batch.first_B.any() for batch in task.train_batches(0, 0))


def train(recipe: Path) -> Outcome:
    return call("train", "--recipe-dir", recipe, "--model", "tiny")


def test_a_model_keeps_its_sources_and_is_not_mixed_with_others(recipe):
    assert train(recipe).code == 0
    assert load_transducer(recipe / "exp/tiny/final.pt")[1].sources == ("an4", "so762")
    write_speakers(recipe, {**SOURCES, "p2": "an4"})
    assert explained(train(recipe), "speakers.tsv")


def test_a_column_that_speakers_do_not_have_is_named(recipe):
    write_speakers(recipe, SOURCES, column="place")
    assert explained(train(recipe), "tokens.sources", "has no column corpus", "place")

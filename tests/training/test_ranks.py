"""Several ranks that train together do what one rank does with whole batches."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rank_fakes import Lost, freeze, on_ranks
from tiny_task import BATCHES, Points, TinyTask
from torch import nn

from asrlib.checkpoint_file import load
from asrlib.config import to_dict
from asrlib.data.share import RankShare
from asrlib.errors import ConfigError, DataError, UserError
from asrlib.layers.over_ranks import BatchNorm1d
from asrlib.training.config import TrainConfig
from asrlib.training.ranks import ALONE, Ranks
from asrlib.training.trainer import Outcome, Trainer

CONFIG = TrainConfig(
    num_threads=1, epochs=3, warmup_steps=4, valid_interval=5, log_interval=1000, average_of="last"
)


class SharedTask(TinyTask):
    """Statistics over the whole batch, and dropout if it is asked for."""

    def __init__(self, dropout: float = 0.0, size: int = 4, **options) -> None:
        torch.manual_seed(0)
        # No bias before the normalisation: its gradient is rounding alone, which AdamW makes large.
        linear = nn.Linear(5, 16, bias=False)
        model = nn.Sequential(
            linear, BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3)
        )
        super().__init__(model=model, **options)
        self.size = size

    def points(self, seed: int, name: str) -> Points:
        points = super().points(seed, name)
        return Points(*(values[: self.size] for values in (points.x_BF, points.y_B, points.ids)))


def trained(
    directory: Path, ranks: Ranks = ALONE, config: TrainConfig = CONFIG, **options: Any
) -> tuple[list[float], Outcome, Trainer]:
    """The loss of each step, how the run ended, and its trainer."""
    trainer = Trainer(
        SharedTask(**options), config, directory, {"train": to_dict(config)}, ranks=ranks
    )
    losses = []
    step = trainer.stepper.step

    def recorded(*arguments: Any) -> Any:
        report = step(*arguments)
        losses.append(report.loss)
        return report

    trainer.stepper.step = recorded
    trainer.resume()
    return losses, trainer.run(), trainer


def losses_of(directory: Path, ranks: Ranks, **options: Any) -> list[float]:
    return trained(directory, ranks, **options)[0]


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load(directory / "final.pt", "tiny")["model"]


def assert_close(one: Path, other: Path) -> None:
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(other)[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_make_the_steps_of_one(tmp_path, size):
    alone, *_ = trained(tmp_path / "one")
    for losses in on_ranks(size, partial(losses_of, tmp_path / "many")):
        assert losses == pytest.approx(alone, rel=1e-4)
    assert len(alone) == 3 * BATCHES
    assert_close(tmp_path / "one", tmp_path / "many")


def test_a_batch_with_fewer_items_than_ranks(tmp_path):
    alone, *_ = trained(tmp_path / "one", size=2)
    for losses in on_ranks(3, partial(losses_of, tmp_path / "many", size=2)):
        assert losses[:20] == pytest.approx(alone[:20], rel=1e-4)


@pytest.mark.parametrize(
    "bad", [["0-3-2"], ["0-3-0", "0-3-2"], [f"0-3-{i}" for i in range(4)]], ids=len
)
def test_items_with_a_bad_loss_are_dropped_on_all_ranks(tmp_path, bad):
    """One of a rank, all of a rank, all of the batch."""
    poison = dict.fromkeys(bad, math.nan)
    alone, *_ = trained(tmp_path / "one", poison=poison)

    def work(ranks: Ranks) -> tuple[list[float], int]:
        losses, _, trainer = trained(tmp_path / "many", ranks, poison=poison)
        return losses, trainer.at.bad_steps

    for losses, bad_steps in on_ranks(2, work):
        assert losses == pytest.approx(alone, rel=1e-4)
        assert bad_steps == 1
    assert_close(tmp_path / "one", tmp_path / "many")


def test_dropout_differs_between_ranks_but_not_between_runs(tmp_path):
    for name in ("first", "second"):
        on_ranks(2, partial(losses_of, tmp_path / name, dropout=0.3))
    first, second = (tmp_path / name / "final.pt" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()

    def drawn(ranks: Ranks) -> float:
        class Drawing(SharedTask):
            def loss(self, batch, step):
                self.first = float(torch.rand(()))
                return super().loss(batch, step)

        task = Drawing()
        Trainer(task, replace(CONFIG, max_steps=1), tmp_path / "draw", {}, ranks=ranks).run()
        return task.first

    one, other = on_ranks(2, drawn)
    assert one != other


def test_only_rank_0_writes(tmp_path):
    on_ranks(2, lambda ranks: losses_of(tmp_path / str(ranks.rank), ranks))
    assert [p.name for p in tmp_path.iterdir()] == ["0"]


def struck(directory: Path, name: str, step: int, at_rank: int, ranks: Ranks) -> Any:
    strike = (name, step) if ranks.rank == at_rank else None
    return trained(directory, ranks, dropout=0.3, strike=strike)[1]


@pytest.mark.parametrize("at_rank", [0, 1])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, at_rank):
    on_ranks(2, partial(losses_of, tmp_path / "whole", dropout=0.3))
    for step in (2, 12, 13):
        work = partial(struck, tmp_path / "pieces", "KILL", step, at_rank)
        results = on_ranks(2, work, timeout=5.0)
        assert results[at_rank] == Lost()
        assert isinstance(results[1 - at_rank], UserError)
        assert f"rank {at_rank} " in results[1 - at_rank].what
    on_ranks(2, partial(losses_of, tmp_path / "pieces", dropout=0.3))
    whole, pieces = (tmp_path / d / "final.pt" for d in ("whole", "pieces"))
    assert whole.read_bytes() == pieces.read_bytes()


def test_a_signal_to_one_rank_stops_all_at_the_same_step(tmp_path):
    on_ranks(2, partial(losses_of, tmp_path / "whole", dropout=0.3))
    outcomes = on_ranks(2, partial(struck, tmp_path / "pieces", "TERM", 6, 1))
    assert outcomes == [Outcome(7, None, signal.SIGTERM)] * 2
    assert (tmp_path / "pieces" / "checkpoints" / "step-00000007.pt").exists()
    on_ranks(2, partial(losses_of, tmp_path / "pieces", dropout=0.3))
    whole, pieces = (tmp_path / d / "final.pt" for d in ("whole", "pieces"))
    assert whole.read_bytes() == pieces.read_bytes()


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_resumes_with_another_number_of_ranks(tmp_path, before, after):
    alone, *_ = trained(tmp_path / "whole")
    first = on_ranks(before, partial(cut_short, tmp_path / "pieces"))[0]
    rest = on_ranks(after, partial(losses_of, tmp_path / "pieces"))[0]
    assert [*first, *rest] == pytest.approx(alone, rel=1e-4)
    assert_close(tmp_path / "whole", tmp_path / "pieces")


def cut_short(directory: Path, ranks: Ranks) -> list[float]:
    """The losses of a run that SIGTERM ends in its tenth step."""
    return trained(directory, ranks, strike=("TERM", 9))[0]


def test_a_rank_that_never_comes_is_named(tmp_path):
    work = partial(losses_of, tmp_path)
    for error in on_ranks(4, work, timeout=2.0, absent=[1, 3]):
        assert isinstance(error, UserError)
        assert "ranks 1, 3 are missing: the training waits for 4 ranks, and 2" in error.what


def test_a_rank_that_no_longer_answers_is_named_after_the_time_out(tmp_path):
    class Freezing(SharedTask):
        def loss(self, batch, step):
            if self.freezes and step == 5:
                freeze()
            return super().loss(batch, step)

    def work(ranks: Ranks) -> None:
        task = Freezing()
        task.freezes = ranks.rank == 1
        Trainer(task, CONFIG, tmp_path / "run", {}, ranks=ranks).run()

    (error,) = on_ranks(2, work, timeout=3.0, heard=[0])
    assert isinstance(error, UserError)
    assert "rank 1 is missing: no answer" in error.what
    assert "any number of ranks" in error.fix


def test_ranks_with_other_data_are_refused(tmp_path):
    def work(ranks: Ranks) -> None:
        identity = {"input": {"train": "abc" if ranks.rank else "def"}}
        Trainer(SharedTask(), CONFIG, tmp_path, identity, ranks=ranks).resume()

    errors = on_ranks(2, work)
    assert isinstance(errors[1], ConfigError)
    assert "rank 1 has other settings or data than rank 0: input.train: def, now" in errors[1].what


def test_a_share_that_does_not_fit_into_memory_is_an_error_that_names_its_rank(tmp_path):
    class Cramped(SharedTask):
        def loss(self, batch, step):
            torch.empty(1 << 60, dtype=torch.uint8)

    def work(ranks: Ranks) -> None:
        Trainer(Cramped(), CONFIG, tmp_path, {}, ranks=ranks).run()

    for rank, error in enumerate(on_ranks(2, work)):
        assert isinstance(error, DataError)
        assert f"the share of rank {rank} does not fit into memory: 0-0-{rank} " in error.what
        assert "with one rank" in error.fix


@given(st.integers(1, 20), st.integers(1, 6))
def test_shares_hold_every_item_once_and_none_is_empty(count, size):
    items = list(range(count))
    shares = [RankShare(rank, size).of(items, length=lambda i: i % 5) for rank in range(size)]
    assert all(shares)
    dealt = [item for share in shares[:count] for item in share]
    assert sorted(dealt) == items
    assert all(share == shares[0][:1] for share in shares[count:])
    assert max(map(len, shares)) - min(map(len, shares)) <= 1

"""A step that runs out of memory is taken in parts, which do what the whole would have done."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_task import BATCHES, Points, TinyTask
from torch import nn

from asrlib.errors import DataError
from asrlib.training.config import TrainConfig
from asrlib.training.out_of_memory import halves, is_out_of_memory
from asrlib.training.stepper import Stepper, StepReport
from asrlib.training.task import LossSums
from asrlib.training.trainer import Trainer

CONFIG = TrainConfig(num_threads=1, warmup_steps=0, epochs=1, log_interval=4)
TOO_MUCH = 1 << 60  # bytes


class Cramped(TinyTask):
    """Has memory for a few items only; without dropout and statistics over the batch."""

    def __init__(self, room: int = 99, *, backward: bool = False, **options) -> None:
        super().__init__(**options)
        self.model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
        self.room, self.backward = room, backward
        self.sizes: list[int] = []

    def loss(self, batch: Points, step: int) -> LossSums:
        self.sizes.append(len(batch.ids))
        sums = super().loss(batch, step)
        if len(batch.ids) > self.room:
            if not self.backward:
                torch.empty(TOO_MUCH, dtype=torch.uint8)
            sums.per_item_B.register_hook(lambda grad: torch.empty(TOO_MUCH, dtype=torch.uint8))
        return sums


def step_of(task: Cramped, size: int) -> tuple[StepReport, list[torch.Tensor]]:
    """The report of one step, and the weights after it."""
    batch = Points(
        torch.randn(size, 5, generator=torch.Generator().manual_seed(size)),
        torch.arange(size) % 3,
        [f"item-{i}" for i in range(size)],
    )
    task.poison and batch.x_BF[0].fill_(math.nan)
    report = Stepper(task, CONFIG).step(batch, 0, 10)
    return report, [p.detach().clone() for p in task.model.parameters()]


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@settings(deadline=None, max_examples=15)
@given(size=st.integers(1, 11), room=st.integers(1, 11))
def test_parts_make_the_step_of_the_whole(size, room, backward):
    torch.manual_seed(0)
    whole, weights = step_of(Cramped(), size)
    torch.manual_seed(0)
    cramped = Cramped(room, backward=backward)
    report, weights_in_parts = step_of(cramped, size)
    assert cramped.sizes[0] == size
    assert (size <= room) == (len(cramped.sizes) == 1)
    assert report.sums.ids == whole.sums.ids
    assert report.sums.weight == size
    assert report.sums.stats == whole.sums.stats
    assert report.loss == pytest.approx(whole.loss, rel=1e-5)
    assert report.norm == pytest.approx(whole.norm, rel=1e-4)
    for one, other in zip(weights, weights_in_parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_log_names_the_parts(caplog):
    with caplog.at_level(logging.WARNING):
        step_of(Cramped(room=2), 3)
    assert "step 0: out of memory; again in parts: item-0 item-1 | item-2" in caplog.text


def test_an_item_that_does_not_fit_alone_is_an_error_that_names_it():
    with pytest.raises(DataError, match=r"step 0: item-0 does not fit into memory") as error:
        step_of(Cramped(room=0), 4)
    assert "smaller model" in error.value.fix


def test_a_part_without_a_finite_loss_is_left_out():
    task = Cramped(room=1, poison={"item-0": math.nan})
    report, weights = step_of(task, 4)
    assert report.bad_ids == ["item-0"]
    assert report.sums.ids == ["item-1", "item-2", "item-3"]
    assert report.sums.weight == 3
    assert all(torch.isfinite(w).all() for w in weights)


def test_another_fault_is_no_lack_of_memory():
    class Broken(Cramped):
        def loss(self, batch: Points, step: int) -> LossSums:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        step_of(Broken(), 4)


def test_a_failed_attempt_leaves_no_trace_in_the_statistics(tmp_path):
    """Normalisation over the batch counts the parts alone."""

    class Normalising(TinyTask):
        room = 99

        def loss(self, batch: Points, step: int) -> LossSums:
            sums = super().loss(batch, step)
            if len(batch.ids) > self.room:
                torch.empty(TOO_MUCH, dtype=torch.uint8)
            return sums

    for room in (2, 4):
        task = Normalising()
        task.room = room
        run = Trainer(task, CONFIG, tmp_path / str(room), {})
        run.run()
        assert run.at.step == BATCHES
        updates = task.model[1].num_batches_tracked
        assert updates == BATCHES * (2 if room == 2 else 1)


@pytest.mark.parametrize(
    ("allocate", "expected"),
    [
        (lambda: torch.empty(TOO_MUCH, dtype=torch.uint8), True),
        (lambda: bytearray(1 << 62), True),
        (lambda: torch.zeros(2) @ torch.zeros(3), False),
    ],
)
def test_lack_of_memory_is_told_from_other_errors(allocate: Callable[[], object], expected: bool):
    with pytest.raises((RuntimeError, MemoryError)) as error:
        allocate()
    assert is_out_of_memory(error.value) == expected


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_halves_keep_items_and_order(sizes):
    names = iter(range(99))
    parts = [[str(next(names)) for _ in range(size)] for size in sizes]
    halved = halves(parts)
    assert [item for part in halved for item in part] == [item for part in parts for item in part]
    assert max(map(len, halved)) == -(-max(sizes) // 2)
    assert all(halved)

"""What the trainer trains: batches in, losses out as sums and counts.

Shapes: B utterances (or whatever a task's items are) of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LossSums:
    """The loss of one batch, not yet divided by anything.

    Attributes:
        per_item_B: each item's loss, differentiable.
        ids: names of the items, in the same order.
        weight: what the sum is divided by: frames or tokens of the batch.
        stats: figures to log, each as (sum, count); they are summed over steps, divided last.
        seconds: seconds of signal in the batch, for the throughput.
        loss_seconds: asked after the backward pass: seconds of the step spent in the loss alone,
            forward and backward.
    """

    per_item_B: Tensor
    ids: Sequence[str]
    weight: float
    stats: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seconds: float = 0.0
    loss_seconds: Callable[[], float] | None = None

    def detached(self) -> LossSums:
        """The figures after the backward pass, without the graph and its memory."""
        seconds = self.loss_seconds and self.loss_seconds()
        return replace(
            self,
            per_item_B=self.per_item_B.detach(),
            loss_seconds=None if seconds is None else lambda: seconds,
        )

    @staticmethod
    def joined(parts: Sequence[LossSums]) -> LossSums:
        """The figures of a batch, of those of its parts; one at least."""
        stats: dict[str, tuple[float, float]] = {}
        for part in parts:
            for name, (value, count) in part.stats.items():
                before = stats.get(name, (0.0, 0.0))
                stats[name] = (before[0] + value, before[1] + count)
        clocks = [part.loss_seconds for part in parts if part.loss_seconds]
        return LossSums(
            per_item_B=torch.cat([part.per_item_B for part in parts]),
            ids=[item for part in parts for item in part.ids],
            weight=sum(part.weight for part in parts),
            stats=stats,
            seconds=sum(part.seconds for part in parts),
            loss_seconds=(lambda: sum(clock() for clock in clocks)) if clocks else None,
        )


class Batch(Protocol):
    """What the trainer must know of a task's batch: the names of its items, each once."""

    @property
    def ids(self) -> Sequence[str]: ...


BatchT = TypeVar("BatchT", bound=Batch)


class Task(Protocol[BatchT]):
    """A model with its data and loss. All of it must be a function of config, seed and step.

    It says of what kind its batches are; the trainer only passes them back to it.
    """

    @property
    def model(self) -> nn.Module: ...

    def batches_per_epoch(self) -> int:
        """About how many batches an epoch has; the length of the learning-rate schedule."""
        ...

    def begin(self, total_steps: int) -> None:
        """Hear how many steps the run has, before the first of them."""
        ...

    def train_batches(self, epoch: int, start_batch: int) -> Iterable[BatchT]:
        """The batches of an epoch (from 0) from `start_batch` on, the same at every call."""
        ...

    def loss(self, batch: BatchT, step: int) -> LossSums:
        """Losses of a batch at optimiser step `step`."""
        ...

    def drop(self, batch: BatchT, ids: Collection[str]) -> BatchT | None:
        """The batch without these items; None when nothing is left."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Dev figures of `model` as it stands; holds "loss". Must leave no trace in the model."""
        ...

    def payload(self) -> dict[str, Any]:
        """What a checkpoint needs beside weights to be used elsewhere; holds "kind"."""
        ...

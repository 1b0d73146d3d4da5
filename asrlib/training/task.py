"""What the trainer trains: batches in, losses out as sums and counts.

Shapes: B utterances (or whatever a task's items are) of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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


class Task(Protocol):
    """A model with its data and loss. All of it must be a function of config, seed and step."""

    model: nn.Module

    def batches_per_epoch(self) -> int:
        """About how many batches an epoch has; the length of the learning-rate schedule."""
        ...

    def train_batches(self, epoch: int, start_batch: int) -> Iterable[Any]:
        """The batches of an epoch (from 0) from `start_batch` on, the same at every call."""
        ...

    def loss(self, batch: Any, step: int) -> LossSums:
        """Losses of a batch at optimiser step `step`."""
        ...

    def drop(self, batch: Any, ids: Collection[str]) -> Any | None:
        """The batch without these items; None when nothing is left."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Dev figures of `model` as it stands; holds "loss". Must leave no trace in the model."""
        ...

    def payload(self) -> dict[str, Any]:
        """What a checkpoint needs beside weights to be used elsewhere; holds "kind"."""
        ...

"""Interface between the trainer and a task: a task gives batches, losses and dev metrics.

Shapes: B items of a batch, for example utterances.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from asrlib.data.share import WHOLE, RankShare


@dataclass(frozen=True)
class LossSums:
    """The losses of a batch as sums, not normalised by length.

    Attributes:
        per_item_B: loss of each item, differentiable.
        ids: names of the items, in the same order.
        weight: divisor of the summed loss: the number of frames or tokens in the batch.
        stats: figures to log, each as (sum, count). Sums and counts are added over steps and
            divided at the end.
        weights_B: positive weights of the items, without a graph; None means that all are 1. The
            gradient is that of the weighted losses, divided by the mean weight of the batch: see
            `gradient_divisor`. `per_item_B` and `stats` remain unweighted.
        objective: differentiable scalar to descend in place of the weighted sum of the losses, for
            weights that enter inside a loss.
        sizes_B: number of frames or tokens of each item, which add up to `weight`; None means that
            all items have the same size.
        kept: what the task needs again in `after_update`, without a graph. Only what belongs to
            the losses that made the update comes back: not that of items that were dropped, nor
            that of an attempt that ran out of memory, nor that of other ranks.
        seconds: seconds of signal in the batch, for the throughput.
        loss_seconds: function that returns the seconds spent in the loss alone, forward and
            backward. Call it after the backward pass.
    """

    per_item_B: Tensor
    ids: Sequence[str]
    weight: float
    stats: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    weights_B: Tensor | None = None
    objective: Tensor | None = None
    sizes_B: Tensor | None = None
    kept: tuple[Any, ...] = ()
    seconds: float = 0.0
    loss_seconds: Callable[[], float] | None = None

    def to_descend(self) -> Tensor:
        """Return the scalar whose gradient a training step takes."""
        if self.objective is not None:
            return self.objective
        if self.weights_B is None:
            return self.per_item_B.sum()
        return (self.weights_B * self.per_item_B).sum()

    def gradient_divisor(self) -> float:
        """Return the divisor of the gradient of `to_descend`.

        It contains the mean of the item weights, so that weights change the direction of the
        gradient, but not its scale at the clip. The mean is that of all items which the step uses,
        even if the batch was processed in parts.
        """
        mean = 1.0 if self.weights_B is None else float(self.weights_B.mean())
        return max(self.weight, 1.0) * mean

    def portable(self) -> LossSums:
        """Return a copy of detached losses for other ranks: on the CPU, no `kept` and no clock."""
        return replace(
            self,
            per_item_B=self.per_item_B.cpu(),
            weights_B=None if self.weights_B is None else self.weights_B.cpu(),
            sizes_B=None if self.sizes_B is None else self.sizes_B.cpu(),
            kept=(),
            loss_seconds=None,
        )

    def detached(self) -> LossSums:
        """Return a copy for use after the backward pass, without the graph and its memory."""
        seconds = self.loss_seconds and self.loss_seconds()
        return replace(
            self,
            per_item_B=self.per_item_B.detach(),
            objective=None,
            loss_seconds=None if seconds is None else lambda: seconds,
        )

    @staticmethod
    def joined(parts: Sequence[LossSums]) -> LossSums:
        """Join the detached losses of the parts of a batch; there must be at least one part."""
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
            weights_B=_joined([part.weights_B for part in parts]),
            sizes_B=_joined([part.sizes_B for part in parts]),
            kept=tuple(item for part in parts for item in part.kept),
            seconds=sum(part.seconds for part in parts),
            loss_seconds=(lambda: sum(clock() for clock in clocks)) if clocks else None,
        )


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    given = [part for part in parts if part is not None]
    return torch.cat(given) if len(given) == len(parts) else None


class Batch(Protocol):
    """A batch of a task. The trainer only uses the names of its items, which are unique."""

    @property
    def ids(self) -> Sequence[str]: ...


BatchT = TypeVar("BatchT", bound=Batch)


class Task(Protocol[BatchT]):
    """A model with its data and its loss.

    All of its results must depend only on the configuration, the seed, the step and the `state` of
    the task. The type parameter is the type of its batches, which the trainer only passes back.
    """

    @property
    def model(self) -> nn.Module: ...

    def batches_per_epoch(self) -> int:
        """Return the approximate number of batches in an epoch, for the learning-rate schedule."""
        ...

    def begin(self, total_steps: int) -> None:
        """Tell scheduled modules the total number of training steps; called before the first."""
        ...

    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterable[BatchT]:
        """Return the batches of an epoch, beginning with number `start_batch`.

        Epochs and batches are counted from 0. Every call gives the same batches. Of each of them
        only the items of `share` are read.
        """
        ...

    def loss(self, batch: BatchT, step: int) -> LossSums:
        """Compute the losses of a batch at training step `step`, counted from 0."""
        ...

    def after_update(self, step: int, lr: float, sums: LossSums) -> None:
        """Act after the optimiser has updated the weights; skipped steps make no call.

        A task may change weights here, for example by a proximal step, or its own state.

        Args:
            step: the training step, counted from 0.
            lr: the learning rate of the step.
            sums: the losses of the batch, without their graph.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return what the task keeps from step to step, besides the weights of the model.

        Checkpoints hold it, so that a resumed run equals an uninterrupted one.
        """
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        ...

    def drop(self, batch: BatchT, ids: Collection[str]) -> BatchT | None:
        """Return the batch without the given items; None if no item is left."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Compute the dev metrics of the present model, among them `loss`.

        The model must not change.
        """
        ...

    def payload(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides weights to be used elsewhere, among it `kind`."""
        ...


class WithoutState:
    """Base of tasks that keep nothing from step to step but the weights of the model."""

    def after_update(self, step: int, lr: float, sums: LossSums) -> None:
        """Do nothing; see `Task.after_update`."""

    def state(self) -> dict[str, Any]:
        """Return nothing; see `Task.state`."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Do nothing; see `Task.load_state`."""

"""A training step: loss, gradient, clipping and update.

A loss or gradient that is not finite does not change the model, and a batch that does not fit into
memory is processed in parts.

Shapes: B items of a batch.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Tensor

from asrlib.errors import DataError
from asrlib.seeds import step_seed
from asrlib.training.config import TrainConfig
from asrlib.training.optim import Ema, WindowMean, build_optimizer, lr_at
from asrlib.training.out_of_memory import halves, is_out_of_memory
from asrlib.training.task import BatchT, LossSums, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepReport:
    """Result of a training step.

    Attributes:
        lr: learning rate.
        loss: sum of the losses of the items that were used.
        norm: norm of the gradient before clipping.
        sums: losses and figures of the batch; None if the step was skipped.
        bad_ids: items whose loss was not finite; all items if the step was skipped.
    """

    lr: float
    loss: float = 0.0
    norm: float = 0.0
    sums: LossSums | None = None
    bad_ids: Sequence[str] = ()


class Stepper(Generic[BatchT]):
    """A model with its optimiser and, if configured, an average of its weights."""

    def __init__(self, task: Task[BatchT], config: TrainConfig) -> None:
        self.task, self.config = task, config
        self.model = task.model
        self.optimizer = build_optimizer(task.model, config)
        self.ema = Ema(task.model, config.ema_decay) if config.ema_decay else None
        self.window = WindowMean(config.average_window) if config.average_window else None

    def step(self, batch: BatchT, step: int, total_steps: int) -> StepReport:
        """Make training step number `step` (from 0).

        The result depends only on the state, the batch, the seed and the step number.
        """
        lr = lr_at(step, total_steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        buffers = self._buffers()
        sums, bad_ids = self._gradient(batch, step)
        if sums is None:
            return StepReport(lr, bad_ids=bad_ids)
        clip = torch.nn.utils.clip_grad_norm_
        norm = float(clip(self.model.parameters(), self.config.clip_norm))
        if not math.isfinite(norm):
            self._restore(buffers)
            logger.warning("step %d: gradient norm is %s: %s", step, norm, " ".join(sums.ids))
            return StepReport(lr, norm=norm, bad_ids=[*bad_ids, *sums.ids])
        self.optimizer.step()
        self.task.after_update(step, lr, sums)
        if self.ema:
            self.ema.update(self.model)
        if self.window:
            self.window.update(self.model, step, total_steps)
        return StepReport(lr, float(sums.per_item_B.sum()), norm, sums, bad_ids)

    def _gradient(self, batch: BatchT, step: int) -> tuple[LossSums | None, list[str]]:
        """Compute the gradient of the mean weighted loss; return the losses and the items dropped.

        Items are dropped if their loss is not finite. A batch that does not fit into memory is
        split into halves, and these again if needed. The gradients of the parts add up to that of
        the batch, but normalisation statistics and dropout masks are computed for each part.

        Raises:
            DataError: a single item does not fit into memory.
        """
        parts: list[Sequence[str]] = [batch.ids]
        while (done := self._accumulate(batch, parts, step)) is None:
            parts = halves(parts)
            named = " | ".join(" ".join(part) for part in parts)
            logger.warning("step %d: out of memory; again in parts: %s", step, named)
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
        sums, dropped = done
        if not sums:
            return None, dropped
        total = LossSums.joined(sums)
        divisor = total.gradient_divisor()
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(divisor)
        return total, dropped

    def _accumulate(
        self, batch: BatchT, parts: Sequence[Sequence[str]], step: int
    ) -> tuple[list[LossSums], list[str]] | None:
        """Add up the gradients of the parts' summed losses; return None if memory is too small."""
        buffers = self._buffers()
        self.optimizer.zero_grad(set_to_none=True)
        sums, dropped = [], []
        for number, ids in enumerate(parts):
            others = set(batch.ids).difference(ids)
            part = self.task.drop(batch, others) if others else batch
            try:
                loss, bad_ids = self._finite_loss(part, step, number)
                dropped += bad_ids
                if loss is not None:
                    loss.to_descend().backward()
                    sums.append(loss.detached())
            except (RuntimeError, MemoryError) as e:
                if not is_out_of_memory(e):
                    raise
                if len(ids) == 1:
                    raise DataError(
                        f"step {step}: {ids[0]} does not fit into memory, even alone: {e}",
                        "leave it out or split it, use a smaller model, or give more memory",
                    ) from e
                self._restore(buffers)
                return None
        return sums, dropped

    def _finite_loss(
        self, batch: BatchT | None, step: int, part: int
    ) -> tuple[LossSums | None, list[str]]:
        """Compute the losses of a part of a batch; drop items whose loss is not finite.

        Returns:
            The losses of the remaining items (None if there are none), and the dropped items.
        """
        # A loss that is not finite often makes the normalisation statistics non-finite too.
        buffers = self._buffers()
        dropped: list[str] = []
        while batch is not None:
            torch.manual_seed(step_seed(self.config.seed, step, part))
            sums = self.task.loss(batch, step)
            bad_ids = _non_finite(sums)
            if not bad_ids:
                return sums, dropped
            self._restore(buffers)
            bad_ids = self._culprits(batch, step) or bad_ids
            logger.warning("step %d: loss is not finite, dropped: %s", step, " ".join(bad_ids))
            dropped += bad_ids
            # The loss is computed again without these items, because a masked NaN would still
            # reach the gradients of shared weights.
            batch = self.task.drop(batch, bad_ids)
        return None, dropped

    @torch.no_grad()
    def _culprits(self, batch: BatchT, step: int) -> list[str]:
        """Find the items whose loss is not finite, with the model in evaluation mode.

        In training mode, statistics over the batch would spread the NaN of one item to all items.
        """
        self.model.eval()
        try:
            return _non_finite(self.task.loss(batch, step))
        finally:
            self.model.train()

    def _buffers(self) -> dict[str, Tensor]:
        return {k: b.detach().clone() for k, b in self.model.named_buffers()}

    def _restore(self, buffers: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(buffers[name])

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the moving average, if there is one, as the model's weights."""
        if self.ema is None:
            yield
            return
        raw = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.ema.state)
        try:
            yield
        finally:
            self.model.load_state_dict(raw)

    def state(self) -> dict[str, Any]:
        """Return everything that resuming needs.

        `model` holds the weights to use: the moving average if there is one.
        """
        raw = self.model.state_dict()
        return {
            "model": self.ema.state if self.ema else raw,
            "raw": {"state": raw, "updates": self.ema.updates} if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "task": self.task.state(),
            **(
                {"window": {"state": self.window.state, "updates": self.window.updates}}
                if self.window
                else {}
            ),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.model.load_state_dict(state["raw"]["state"] if self.ema else state["model"])
        if self.ema:
            self.ema.state, self.ema.updates = state["model"], state["raw"]["updates"]
        if self.window:
            self.window.state = state["window"]["state"]
            self.window.updates = state["window"]["updates"]
        self.task.load_state(state.get("task", {}))  # checkpoints of version 0.2 have none


def _non_finite(sums: LossSums) -> list[str]:
    finite_B = torch.isfinite(sums.per_item_B.detach()).tolist()
    return [item for item, finite in zip(sums.ids, finite_B, strict=True) if not finite]

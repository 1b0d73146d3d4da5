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
from dataclasses import dataclass, field, replace
from typing import Any, Generic

import torch
from torch import Tensor

from asrlib.errors import DataError
from asrlib.layers import over_ranks
from asrlib.seeds import step_seed
from asrlib.training.config import TrainConfig
from asrlib.training.optim import Ema, WindowMean, build_optimizer, lr_at
from asrlib.training.out_of_memory import halves, is_out_of_memory
from asrlib.training.precision import autocast, gradient_scaler, normalise_in_float32
from asrlib.training.ranks import ALONE, Ranks
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


@dataclass
class _Losses:
    """The losses of a batch on one rank, or of a part of it.

    Attributes:
        idle: whether they are of another rank's items and do not count here.
        sums: the losses.
        dropped: the items whose loss was not finite.
    """

    idle: bool
    sums: list[LossSums] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


class Stepper(Generic[BatchT]):
    """A model with its optimiser and, if configured, an average of its weights."""

    def __init__(self, task: Task[BatchT], config: TrainConfig, ranks: Ranks = ALONE) -> None:
        self.task, self.config, self.ranks = task, config, ranks
        self.model = task.model
        self.optimizer = build_optimizer(task.model, config)
        self.scaler = gradient_scaler(config)
        normalise_in_float32(task.model, config)
        self.ema = Ema(task.model, config.ema_decay) if config.ema_decay else None
        self.window = WindowMean(config.average_window) if config.average_window else None

    def step(self, batch: BatchT, step: int, total_steps: int, idle: bool = False) -> StepReport:
        """Make training step number `step` (from 0).

        The result depends only on the state, the batch, the seed, the step number and the number of
        ranks; it is the same on all ranks.

        Args:
            batch: this rank's share of the batch.
            step: number of the step.
            total_steps: number of steps of the training.
            idle: whether the items of `batch` are those of another rank, which this rank processes
                for company only.
        """
        lr = lr_at(step, total_steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        buffers = self._buffers()
        sums, bad_ids = self._gradient(batch, step, idle)
        if sums is None:
            return StepReport(lr, bad_ids=bad_ids)
        self.scaler.unscale_(self.optimizer)
        clip = torch.nn.utils.clip_grad_norm_
        norm = float(clip(self.model.parameters(), self.config.clip_norm))
        if not math.isfinite(norm):
            self._restore(buffers)
            return self._skipped(StepReport(lr, norm=norm, bad_ids=bad_ids), step, sums.ids)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.task.after_update(step, lr, sums)
        if self.ema:
            self.ema.update(self.model)
        if self.window:
            self.window.update(self.model, step, total_steps)
        return StepReport(lr, float(sums.per_item_B.sum()), norm, sums, bad_ids)

    def _skipped(self, report: StepReport, step: int, ids: Sequence[str]) -> StepReport:
        """Report a step whose gradient is not finite: a fault, unless float16 was too narrow."""
        scale = self.scaler.get_scale()
        self.scaler.update()
        if self.scaler.is_enabled() and scale > 1.0:
            logger.info("step %d: skipped, the scale %g of the loss was too large", step, scale)
            return report
        logger.warning("step %d: gradient norm is %s: %s", step, report.norm, " ".join(ids))
        return replace(report, bad_ids=[*report.bad_ids, *ids])

    def _gradient(self, batch: BatchT, step: int, idle: bool) -> tuple[LossSums | None, list[str]]:
        """Compute the gradient of the mean weighted loss; return the losses and the items dropped.

        Losses, items and gradient are those of all ranks. Items are dropped if their loss is not
        finite. A batch that does not fit into memory is split into halves, and these again if
        needed. The gradients of the parts add up to that of the batch, but normalisation statistics
        and dropout masks are computed for each part.

        Raises:
            DataError: a single item, or the share of one of several ranks, does not fit into
                memory.
        """
        parts: list[Sequence[str]] = [batch.ids]
        while (done := self._accumulate(batch, parts, step, idle)) is None:
            parts = halves(parts)
            named = " | ".join(" ".join(part) for part in parts)
            logger.warning("step %d: out of memory; again in parts: %s", step, named)
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
        total, dropped = self._of_all_ranks(done)
        if dropped:
            logger.warning("step %d: loss is not finite, dropped: %s", step, " ".join(dropped))
        if total is None:
            return None, dropped
        self.ranks.sum_gradients(self.model.parameters(), done.idle)
        divisor = total.gradient_divisor()
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(divisor)
        return total, dropped

    def _of_all_ranks(self, done: _Losses) -> tuple[LossSums | None, list[str]]:
        """Return the losses of all ranks, None if there are none, and the items dropped."""
        own = LossSums.joined(done.sums) if done.sums else None
        if self.ranks.size == 1:
            return own, done.dropped
        counts = None if own is None or done.idle else own.portable()
        found = self.ranks.gather((counts, done.dropped))
        dropped = [item for _, items in found for item in items]
        parts = [part for part, _ in found if part is not None]
        if own is None or not parts:
            return None, dropped
        total = LossSums.joined(parts)
        return replace(total, kept=own.kept, loss_seconds=own.loss_seconds), dropped

    def _accumulate(
        self, batch: BatchT, parts: Sequence[Sequence[str]], step: int, idle: bool
    ) -> _Losses | None:
        """Add up the gradients of the parts' summed losses; return None if memory is too small."""
        buffers = self._buffers()
        self.optimizer.zero_grad(set_to_none=True)
        done = _Losses(idle=idle)
        for number, ids in enumerate(parts):
            others = set(batch.ids).difference(ids)
            part = self.task.drop(batch, others) if others else batch
            try:
                found = self._finite_loss(part, step, number, idle)
                done.dropped += found.dropped
                done.idle = found.idle
                for loss in found.sums:
                    self.scaler.scale(loss.to_descend()).backward()
                    done.sums.append(loss.detached())
            except (RuntimeError, MemoryError) as e:
                if not is_out_of_memory(e):
                    raise
                self._check_divisible(ids, step, e)
                self._restore(buffers)
                return None
        return done

    def _check_divisible(self, ids: Sequence[str], step: int, error: Exception) -> None:
        """Raise a DataError if items that do not fit into memory cannot be processed in parts."""
        if self.ranks.size > 1:
            raise DataError(
                f"step {step}: the share of rank {self.ranks.rank} does not fit into memory:"
                f" {' '.join(ids)}: {error}",
                "resume with more ranks, or with one rank, which processes a batch in parts; or"
                " train anew with smaller batches",
            ) from error
        if len(ids) == 1:
            raise DataError(
                f"step {step}: {ids[0]} does not fit into memory, even alone: {error}",
                "leave it out or split it, use a smaller model, or give more memory",
            ) from error

    def _finite_loss(self, batch: BatchT | None, step: int, part: int, idle: bool) -> _Losses:
        """Compute the losses of a part of a batch; drop items whose loss is not finite.

        All ranks repeat the computation if one of them drops items. A rank that has dropped all of
        its items becomes idle.

        Returns:
            The losses of the remaining items (none if all items of all ranks were dropped), and the
            dropped items of this rank.
        """
        # A loss that is not finite often makes the normalisation statistics non-finite too.
        buffers = self._buffers()
        found = _Losses(idle=idle)
        while batch is not None:
            torch.manual_seed(step_seed(self.config.seed, step, part, self.ranks.rank))
            sums = self._loss(batch, step, found.idle)
            bad_ids = [] if found.idle else _non_finite(sums)
            if not self.ranks.any(bool(bad_ids)):
                found.sums.append(sums)
                return found
            self._restore(buffers)
            bad_ids = self._culprits(batch, step, found.idle, bad_ids)
            found.dropped += bad_ids
            # The loss is computed again without these items, because a masked NaN would still
            # reach the gradients of shared weights.
            left = self.task.drop(batch, bad_ids) if bad_ids else batch
            found.idle = found.idle or left is None
            if not self.ranks.any(not found.idle):
                break
            batch = batch if left is None else left
        return found

    def _loss(self, batch: BatchT, step: int, idle: bool) -> LossSums:
        with over_ranks.idling(idle), autocast(self.config):
            return self.task.loss(batch, step)

    @torch.no_grad()
    def _culprits(self, batch: BatchT, step: int, idle: bool, bad_ids: list[str]) -> list[str]:
        """Find the items whose loss is not finite, with the model in evaluation mode.

        In training mode, statistics over the batch would spread the NaN of one item to all items,
        which are `bad_ids`. They are all returned only if evaluation mode finds none on any rank.
        """
        self.model.eval()
        try:
            sums = self._loss(batch, step, idle)
        finally:
            self.model.train()
        found = [] if idle else _non_finite(sums)
        return found if self.ranks.any(bool(found)) else bad_ids

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
            **({"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.model.load_state_dict(state["raw"]["state"] if self.ema else state["model"])
        device = next(self.model.parameters()).device
        if self.ema:
            self.ema.state = _on(device, state["model"])
            self.ema.updates = state["raw"]["updates"]
        if self.window:
            self.window.state = _on(device, state["window"]["state"])
            self.window.updates = state["window"]["updates"]
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.task.load_state(state.get("task", {}))  # checkpoints of version 0.2 have none


def _non_finite(sums: LossSums) -> list[str]:
    finite_B = torch.isfinite(sums.per_item_B.detach()).tolist()
    return [item for item, finite in zip(sums.ids, finite_B, strict=True) if not finite]


def _on(device: torch.device, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in state.items()}

"""One optimiser step: loss, gradient, clipping, update; what is not finite leaves no trace.

Shapes: B items of a batch.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asrlib.training.config import TrainConfig
from asrlib.training.optim import Ema, build_optimizer, lr_at
from asrlib.training.task import LossSums, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepReport:
    """What a step did.

    Attributes:
        lr: its learning rate.
        loss: sum over the items that were used.
        norm: of the gradient, before clipping.
        sums: the loss's figures; None: the step was skipped.
        bad_ids: items whose loss was not finite; of a skipped step, all.
    """

    lr: float
    loss: float = 0.0
    norm: float = 0.0
    sums: LossSums | None = None
    bad_ids: Sequence[str] = ()


class Stepper:
    """A model with its optimiser and, perhaps, the moving average of its weights."""

    def __init__(self, task: Task, config: TrainConfig) -> None:
        self.task, self.config = task, config
        self.model = task.model
        self.optimizer = build_optimizer(task.model, config)
        self.ema = Ema(task.model, config.ema_decay) if config.ema_decay else None

    def step(self, batch: Any, step: int, total_steps: int) -> StepReport:
        """Take step number `step` (from 0); a function of state, batch, seed and number only."""
        lr = lr_at(step, total_steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        # Losses that are not finite come with normalisation statistics that are not either.
        buffers = {k: b.detach().clone() for k, b in self.model.named_buffers()}
        self.optimizer.zero_grad(set_to_none=True)
        sums, bad_ids = self._finite_loss(batch, step, buffers)
        if sums is None:
            return StepReport(lr, bad_ids=bad_ids)
        loss = sums.per_item_B.sum()
        (loss / max(sums.weight, 1.0)).backward()
        clip = torch.nn.utils.clip_grad_norm_
        norm = float(clip(self.model.parameters(), self.config.clip_norm))
        if not math.isfinite(norm):
            self._restore(buffers)
            logger.warning("step %d: gradient norm is %s: %s", step, norm, " ".join(sums.ids))
            return StepReport(lr, norm=norm, bad_ids=[*bad_ids, *sums.ids])
        self.optimizer.step()
        if self.ema:
            self.ema.update(self.model)
        return StepReport(lr, loss.item(), norm, sums, bad_ids)

    def _finite_loss(
        self, batch: Any, step: int, buffers: Mapping[str, Tensor]
    ) -> tuple[LossSums | None, list[str]]:
        """Loss of the batch without the items whose loss is not finite, and those items."""
        dropped: list[str] = []
        while batch is not None:
            torch.manual_seed(_step_seed(self.config.seed, step))
            sums = self.task.loss(batch, step)
            bad_ids = _non_finite(sums)
            if not bad_ids:
                return sums, dropped
            self._restore(buffers)
            bad_ids = self._culprits(batch, step) or bad_ids
            logger.warning("step %d: loss is not finite, dropped: %s", step, " ".join(bad_ids))
            dropped += bad_ids
            # Computed anew: a masked NaN would still reach the gradients of shared weights.
            batch = self.task.drop(batch, bad_ids)
        return None, dropped

    @torch.no_grad()
    def _culprits(self, batch: Any, step: int) -> list[str]:
        """Items whose loss is not finite by themselves.

        In training, statistics over the batch spread one item's NaN over all; not in evaluation.
        """
        self.model.eval()
        bad_ids = _non_finite(self.task.loss(batch, step))
        self.model.train()
        return bad_ids

    def _restore(self, buffers: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(buffers[name])

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The moving average, where there is one, in the model's place."""
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
        """All that continuing needs; `model` are the weights to use: the average, if there is."""
        raw = self.model.state_dict()
        return {
            "model": self.ema.state if self.ema else raw,
            "raw": {"state": raw, "updates": self.ema.updates} if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.model.load_state_dict(state["raw"]["state"] if self.ema else state["model"])
        if self.ema:
            self.ema.state, self.ema.updates = state["model"], state["raw"]["updates"]


def _non_finite(sums: LossSums) -> list[str]:
    finite_B = torch.isfinite(sums.per_item_B.detach()).tolist()
    return [item for item, finite in zip(sums.ids, finite_B, strict=True) if not finite]


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0])

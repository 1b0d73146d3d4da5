"""The optimiser, the learning-rate schedule, and averages of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from asrlib.layers.growing_depth import depth_of
from asrlib.layers.progress import is_progress
from asrlib.training.config import TrainConfig


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Build AdamW (arXiv 1711.05101). Vectors and scalars (biases, norms) have no weight decay."""
    params = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=config.peak_lr,
        betas=(config.beta1, config.beta2),
        eps=config.adam_eps,
    )


def lr_at(step: int, total_steps: int, config: TrainConfig) -> float:
    """Return the learning rate of a training step, counted from 0.

    The rate rises linearly to `peak_lr` over `warmup_steps`. After that it stays constant or
    follows half a cosine (arXiv 1608.03983, one cycle) down to `final_lr_ratio` * `peak_lr` at
    `total_steps`.
    """
    if step < config.warmup_steps:
        return config.peak_lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.peak_lr
    progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return config.peak_lr * (config.final_lr_ratio + (1.0 - config.final_lr_ratio) * cosine)


class WindowMean:
    """Mean of all state after each update of a training's last steps.

    It needs no choice of checkpoints, and, unlike their mean, uses every update; icefall averages
    so over the updates between two checkpoints. State that describes the progress of training,
    such as the depth, is copied; while the depth grows, the mean begins anew, because weights
    of other depths are those of another model.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.updates = 0
        self.state: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int, total_steps: int) -> None:
        """Take in the weights after training step number `step` (from 0), if it is in the window.

        An average of n weights is updated as `mean += (new - mean) / n`.
        """
        if step < total_steps - self.steps:
            return
        new = model.state_dict()
        if not self.state or depth_of(new) != depth_of(self.state):
            self.updates = 0
            self.state = {k: v.detach().clone() for k, v in new.items()}
        self.updates += 1
        for name, value in new.items():
            if value.is_floating_point() and not is_progress(name):
                self.state[name].lerp_(value, 1.0 / self.updates)
            else:
                self.state[name].copy_(value)


class Ema:
    """Exponential moving average of all floating-point state, normalisation statistics included.

    The decay grows with the number of updates n as (1 + n) / (10 + n) until it reaches `decay`,
    so that the random initial weights are forgotten early; this is our choice, after common
    practice. State that describes the progress of training, such as the depth, is copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average with the weights after an optimiser step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in model.state_dict().items():
            if value.is_floating_point() and not is_progress(name):
                self.state[name].lerp_(value, 1.0 - decay)
            else:
                self.state[name].copy_(value)


def average_states(states: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Average state dicts; the sums are in float64, and integer entries are those of the last.

    Normalisation statistics are averaged like weights.
    """
    sums: dict[str, Tensor] = {}
    last: Mapping[str, Tensor] = {}
    count = 0
    for last in states:
        count += 1
        for name, value in last.items():
            value_f64 = value.to(torch.float64)
            sums[name] = sums[name] + value_f64 if name in sums else value_f64
    return {
        name: (sums[name] / count).to(value.dtype) if value.is_floating_point() else value.clone()
        for name, value in last.items()
    }

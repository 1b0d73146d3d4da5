"""Hold the weights of a model near their start: L2 and elastic weight consolidation.

The penalty of a weight theta with the start theta* and the Fisher information F is
strength / 2 * F * (theta - theta*)^2 (arXiv 1612.00796, 2207.07850); with F = 1 it is L2. As a term
of the loss, its gradient is clipped with that of the data and rescaled by Adam, which gives every
weight steps of about the learning rate, however strong the penalty is. The proximal step does not
have this weakness: it minimises the penalty exactly, for the learning rate, after the update. The
form is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from asrlib.errors import CheckpointError


class Anchor:
    """The weights of a model at its start, and how strongly each is held there.

    Only weights that are trained (`requires_grad`) are held.

    Args:
        model: the model, with the weights of its start.
        strength: weight of the penalty; 0 holds nothing, infinity holds every weight with F > 0.
        fisher: Fisher information by name of the weight; None means 1 for all, which is L2.

    Raises:
        CheckpointError: the Fisher information lacks a weight, or has another shape.
    """

    def __init__(
        self, model: nn.Module, strength: float, fisher: Mapping[str, Tensor] | None = None
    ) -> None:
        self.strength = strength
        self.weights = {name: w for name, w in model.named_parameters() if w.requires_grad}
        self.start = {name: w.detach().clone() for name, w in self.weights.items()}
        if fisher is None:
            fisher = {name: torch.ones_like(w) for name, w in self.start.items()}
        for name, weight in self.weights.items():
            if name not in fisher or fisher[name].shape != weight.shape:
                raise CheckpointError(
                    f"the Fisher information does not fit weight {name} of the model",
                    "remove its file, so that it is computed again",
                )
        self.fisher = {name: fisher[name].to(w.device) for name, w in self.weights.items()}

    @torch.no_grad()
    def pull(self, lr: float) -> None:
        """Make the proximal step: theta <- theta - c / (1 + c) (theta - theta*).

        With c = lr * strength * F, theta minimises
        (theta - theta_updated)^2 / (2 lr) + strength / 2 * F * (theta - theta*)^2.
        """
        for name, weight in self.weights.items():
            # 1 / (1 + 1 / c) is c / (1 + c), and it is 1 for an infinite c.
            share = 1.0 / (1.0 + 1.0 / (lr * self.strength * self.fisher[name]))
            weight.lerp_(self.start[name], share)

    def penalty(self) -> Tensor:
        """Return the penalty of the present weights, differentiable."""
        parts = [
            (self.fisher[name] * (weight - self.start[name]).square()).sum()
            for name, weight in self.weights.items()
        ]
        return self.strength / 2 * torch.stack(parts).sum()

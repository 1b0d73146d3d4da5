"""Causal squeeze-and-excite (arXiv 2209.14868, section 2): the mean excludes future frames.

Shapes: B batch, S output frames, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SqueezeState:
    """The mean over all frames so far, and their number.

    The state holds the mean instead of the sum, so that a stream of days loses no precision.
    """

    mean_BD: Tensor
    count_B1: Tensor


class CausalSqueezeExcite(nn.Module):
    """`z_i * sigmoid(W1 relu(W2 mean_{k<=i} z_k))`: a gate computed from all frames up to i."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.squeeze = nn.Linear(dim, dim)
        self.excite = nn.Linear(dim, dim)

    def initial_state(self, batch_size: int, device: torch.device) -> SqueezeState:
        zeros_BD = self.squeeze.weight.new_zeros(batch_size, self.dim, device=device)
        return SqueezeState(zeros_BD, zeros_BD[:, :1])

    def forward(self, z_BSD: Tensor, state: SqueezeState) -> tuple[Tensor, SqueezeState]:
        steps_S = torch.arange(1, z_BSD.shape[1] + 1, device=z_BSD.device, dtype=z_BSD.dtype)
        count_BS1 = state.count_B1.unsqueeze(1) + steps_S.unsqueeze(1)
        past_B1D = (state.mean_BD * state.count_B1).unsqueeze(1)
        mean_BSD = (past_B1D + z_BSD.cumsum(dim=1)) / count_BS1
        gate_BSD = self.excite(self.squeeze(mean_BSD).relu()).sigmoid()
        return z_BSD * gate_BSD, SqueezeState(mean_BSD[:, -1], count_BS1[:, -1])

"""Depth-wise convolution that sees the past only.

Shapes: B batch, S frames, C channels, P frames of left context.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CausalConv(nn.Module):
    """Depth-wise convolution over this frame and those before it, frames first.

    No bias: what follows is a pointwise layer, or a normalisation.
    """

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.left = kernel - 1
        self.conv = nn.Conv1d(dim, dim, kernel, groups=dim, bias=False)

    def initial_state(self, batch_size: int, device: torch.device) -> Tensor:
        """Zeros (B, P, C): nothing was heard."""
        weight = self.conv.weight
        return weight.new_zeros((batch_size, self.left, weight.shape[0]), device=device)

    def forward(self, x_BSC: Tensor, left_BPC: Tensor) -> tuple[Tensor, Tensor]:
        x_BSC = torch.cat([left_BPC, x_BSC], dim=1)
        y_BSC = self.conv(x_BSC.transpose(1, 2)).transpose(1, 2)
        return y_BSC, x_BSC[:, x_BSC.shape[1] - self.left :]

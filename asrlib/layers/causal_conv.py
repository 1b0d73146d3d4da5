"""Causal depth-wise convolution.

Shapes: B batch, S frames, C channels, P frames of left context.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CausalConv(nn.Module):
    """Depth-wise convolution over this frame and the P = kernel - 1 frames before it.

    It has no bias, because a pointwise layer or a normalisation follows it.
    """

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.left = kernel - 1
        self.conv = nn.Conv1d(dim, dim, kernel, groups=dim, bias=False)

    def initial_state(self, batch_size: int, device: torch.device) -> Tensor:
        """The left context (B, P, C) at the start of a stream: zeros."""
        weight = self.conv.weight
        return weight.new_zeros((batch_size, self.left, weight.shape[0]), device=device)

    def forward(self, x_BSC: Tensor, left_BPC: Tensor) -> tuple[Tensor, Tensor]:
        x_BSC = torch.cat([left_BPC, x_BSC], dim=1)
        y_BSC = self.conv(x_BSC.transpose(1, 2)).transpose(1, 2)
        return y_BSC, x_BSC[:, x_BSC.shape[1] - self.left :]

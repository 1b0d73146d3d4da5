"""Causal convolutions.

Shapes: B batch, S frames, C channels, F stacked features, P frames of left context.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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


class BinConv(nn.Module):
    """Causal convolution over stacked frames, with filters of its own for each mel bin, and SiLU.

    There is no residual connection, so no path leads around the convolution: the layers after it
    see a frame together with the frames before it, and can wait for what follows a sound. Bins are
    not mixed, so that a CNN over the frequency axis can follow, and there are few weights.

    Args:
        stacked: number of input frames in a stacked frame.
        num_bins: number of mel bins per input frame.
        kernel: number of stacked frames under a filter.
    """

    def __init__(self, stacked: int, num_bins: int, kernel: int) -> None:
        super().__init__()
        self.stacked, self.num_bins, self.left = stacked, num_bins, kernel - 1
        dim = stacked * num_bins
        self.conv = nn.Conv1d(dim, dim, kernel, groups=num_bins)
        # As of ConvRNN-T's local CNN: the signal keeps its variance (arXiv 1502.01852).
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.get_parameter("bias"))

    def initial_state(self, batch_size: int, device: torch.device) -> Tensor:
        """The left context (B, P, F) at the start of a stream: zeros."""
        weight = self.conv.weight
        return weight.new_zeros((batch_size, self.left, weight.shape[0]), device=device)

    def forward(self, x_BSF: Tensor, left_BPF: Tensor) -> tuple[Tensor, Tensor]:
        x_BSF = torch.cat([left_BPF, x_BSF], dim=1)
        after_BPF = x_BSF[:, x_BSF.shape[1] - self.left :]
        # A group of channels is the frames of one bin; in a stacked frame they are not adjacent.
        x_BFS = x_BSF.unflatten(-1, (self.stacked, self.num_bins)).permute(0, 3, 2, 1).flatten(1, 2)
        y_BFS = F.silu(self.conv(x_BFS))
        y_BSF = y_BFS.unflatten(1, (self.num_bins, self.stacked)).permute(0, 3, 2, 1).flatten(2)
        return y_BSF, after_BPF

"""The causal ContextNet encoder (arXiv 2005.03191), a baseline in arXiv 2209.14868.

    stacked frames -> block 1 .. block N -> Linear

A block consists of several depth-wise separable convolutions, a causal squeeze-and-excite, and a
residual connection through a pointwise convolution. The first and the last block have one
convolution and no residual connection. All convolutions are causal and have stride 1. Where arXiv
2209.14868 gives no details, the choice is ours: the squeeze-and-excite has no bottleneck (this
gives the paper's 28 M parameters), and a final Linear gives the output width.

Shapes: B batch, S output frames, F stacked features, C channels, P frames of left context.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.encoders.base import FrontConfig, StreamingEncoder
from asrlib.layers.causal_conv import CausalConv
from asrlib.layers.growing_depth import GrowingDepth
from asrlib.layers.norm import MaskedBatchNorm
from asrlib.layers.squeeze_excite import CausalSqueezeExcite, SqueezeState
from asrlib.numbers import Positive, Probability


@configclass
class ContextNetConfig(FrontConfig):
    """The ContextNet encoder.

    Attributes:
        channels: number of channels of each block; the list has one entry per block.
        layers: number of convolutions per block; the first and the last block have one.
        kernel: kernel size of a convolution, in frames: a frame and the kernel - 1 before it.
        grow: share of the training steps over which blocks are added (`GrowingDepth`); these are
            the inner blocks that are as wide as the block before them. 0 means that all blocks
            are used from the start.
        dropout: dropout probability at the end of each block.
        output_dim: outputs of the final Linear.
    """

    name: Literal["contextnet"] = "contextnet"
    channels: Annotated[tuple[Positive, ...], Field(min_length=2)] = (192,) * 8
    layers: Positive = 3
    kernel: Annotated[int, Field(ge=2)] = 5
    grow: Probability = 0.0
    dropout: Probability = 0.1
    output_dim: Positive = 256

    def build(self, num_bins: int) -> ContextNetEncoder:
        """Build the encoder, with random weights, for frames of `num_bins` features."""
        return ContextNetEncoder(self, num_bins)


@dataclass(frozen=True)
class BlockState:
    """State of one block.

    Attributes:
        lefts: last inputs (B, P, C) of each convolution; zeros before the start.
        squeeze: state of the squeeze-and-excite.
    """

    lefts: tuple[Tensor, ...]
    squeeze: SqueezeState


@dataclass(frozen=True)
class ContextNetState:
    """States of all blocks."""

    blocks: tuple[BlockState, ...]


class ContextNetLayer(nn.Module):
    """A depth-wise and a pointwise convolution, then BatchNorm."""

    def __init__(self, input_dim: int, output_dim: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = CausalConv(input_dim, kernel)
        self.pointwise = nn.Linear(input_dim, output_dim, bias=False)
        self.norm = MaskedBatchNorm(output_dim)

    def forward(
        self, x_BSC: Tensor, left_BPC: Tensor, mask_BS: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        y_BSC, left_BPC = self.depthwise(x_BSC, left_BPC)
        return self.norm(self.pointwise(y_BSC), mask_BS), left_BPC


class ContextNetBlock(nn.Module):
    """Convolutions with Swish after each, squeeze-and-excite, [residual], Swish, dropout."""

    def __init__(
        self, input_dim: int, output_dim: int, layers: int, residual: bool, config: ContextNetConfig
    ) -> None:
        super().__init__()
        dims = [input_dim] + [output_dim] * layers
        self.layers = nn.ModuleList(ContextNetLayer(a, b, config.kernel) for a, b in pairwise(dims))
        self.squeeze_excite = CausalSqueezeExcite(output_dim)
        self.shortcut = nn.Linear(input_dim, output_dim, bias=False) if residual else None
        self.shortcut_norm = MaskedBatchNorm(output_dim) if residual else None
        self.dropout = nn.Dropout(config.dropout)

    def initial_state(self, batch_size: int, device: torch.device) -> BlockState:
        lefts = tuple(layer.depthwise.initial_state(batch_size, device) for layer in self.layers)
        return BlockState(lefts, self.squeeze_excite.initial_state(batch_size, device))

    def forward(
        self, x_BSC: Tensor, state: BlockState, mask_BS: Tensor | None
    ) -> tuple[Tensor, BlockState]:
        y_BSC, lefts = x_BSC, []
        for i, (layer, left_BPC) in enumerate(zip(self.layers, state.lefts, strict=True)):
            y_BSC, left_BPC = layer(F.silu(y_BSC) if i else y_BSC, left_BPC, mask_BS)
            lefts.append(left_BPC)
        y_BSC, squeeze = self.squeeze_excite(F.silu(y_BSC), state.squeeze)
        if self.shortcut is not None and self.shortcut_norm is not None:
            y_BSC = y_BSC + self.shortcut_norm(self.shortcut(x_BSC), mask_BS)
        return self.dropout(F.silu(y_BSC)), BlockState(tuple(lefts), squeeze)


class ContextNetEncoder(StreamingEncoder):
    """The ContextNet encoder: convolutions and running means; causal, without lookahead."""

    def __init__(self, config: ContextNetConfig, num_bins: int) -> None:
        super().__init__(num_bins, config, config.output_dim)
        self.blocks, joining = nn.ModuleList(), []
        dim, last = config.subsampling * num_bins, len(config.channels) - 1
        for i, channels in enumerate(config.channels):
            inner = 0 < i < last
            layers = config.layers if inner else 1
            self.blocks.append(ContextNetBlock(dim, channels, layers, inner, config))
            joining.append(inner and channels == dim)
            dim = channels
        self.depth = GrowingDepth(joining, config.grow)
        self.output = nn.Linear(dim, config.output_dim)

    def first_state(self, batch_size: int, device: torch.device) -> ContextNetState:
        return ContextNetState(tuple(b.initial_state(batch_size, device) for b in self.blocks))

    def advance(
        self, x_BSF: Tensor, state: ContextNetState, mask_BS: Tensor | None
    ) -> tuple[Tensor, ContextNetState]:
        x_BSC, states = x_BSF, []
        for i, (block, block_state) in enumerate(zip(self.blocks, state.blocks, strict=True)):
            if self.depth.counts(i):
                y_BSC, block_state = block(x_BSC, block_state, mask_BS)
                x_BSC = self.depth.mix(i, x_BSC, y_BSC)
            states.append(block_state)
        return self.output(x_BSC), ContextNetState(tuple(states))

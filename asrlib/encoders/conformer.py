"""The causal Conformer encoder (arXiv 2005.08100), a baseline in arXiv 2209.14868.

    stacked frames -> Linear -> blocks -> Linear

A block consists of a feed-forward with weight 1/2, self-attention over a bounded past, a causal
convolution, a second feed-forward with weight 1/2, and a LayerNorm. Each part has a residual
connection. arXiv 2209.14868 uses 14 layers, 4 heads of 64 features and feed-forwards of 1024
units. The kernel size and the left context of the attention are our choice.

Shapes: B batch, S output frames, F stacked features, D width, P frames of left context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.encoders.base import FrontConfig, StreamingEncoder
from asrlib.layers.attention import AttentionState, CausalSelfAttention, check_heads
from asrlib.layers.causal_conv import CausalConv
from asrlib.layers.feed_forward import FeedForward
from asrlib.layers.growing_depth import GrowingDepth
from asrlib.layers.norm import MaskedBatchNorm
from asrlib.numbers import Positive, Probability


@configclass
class ConformerConfig(FrontConfig):
    """The Conformer encoder.

    Attributes:
        layers: number of blocks.
        dim: width of the blocks.
        heads: number of attention heads; it must divide `dim`.
        feedforward_dim: hidden units per feed-forward.
        kernel: kernel size of the convolution, in frames: a frame and the kernel - 1 before it.
        left_context: number of output frames before a frame that it attends to, at least 1. It
            does not depend on how a stream is cut into pieces.
        block_norm: whether every block ends with a LayerNorm, as in the paper. If False, only the
            last block does; short trainings then converge sooner.
        grow: share of the training steps over which the blocks are added (`GrowingDepth`); 0 means
            that all blocks are used from the start.
        dropout: dropout probability after each part of a block.
        output_dim: outputs of the final Linear.
    """

    name: Literal["conformer"] = "conformer"
    layers: Positive = 6
    dim: Positive = 144
    heads: Positive = 4
    feedforward_dim: Positive = 576
    kernel: Annotated[int, Field(ge=2)] = 9
    left_context: Positive = 64
    block_norm: bool = True
    grow: Probability = 0.0
    dropout: Probability = 0.1
    output_dim: Positive = 256

    def __post_init__(self) -> None:
        check_heads(self.dim, self.heads)

    def build(self, num_bins: int) -> ConformerEncoder:
        """Build the encoder, with random weights, for frames of `num_bins` features."""
        return ConformerEncoder(self, num_bins)


@dataclass(frozen=True)
class ConformerBlockState:
    """State of one block: the attention's keys and values, and the convolution's last inputs."""

    attention: AttentionState
    left_BPD: Tensor


@dataclass(frozen=True)
class ConformerState:
    """States of all blocks."""

    blocks: tuple[ConformerBlockState, ...]


class ConvModule(nn.Module):
    """The convolution module of a block.

    LayerNorm -> pointwise, GLU -> causal depth-wise -> BatchNorm, Swish -> pointwise -> dropout
    """

    def __init__(self, dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, 2 * dim)
        self.depthwise = CausalConv(dim, kernel)
        self.conv_norm = MaskedBatchNorm(dim)
        self.pointwise = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x_BSD: Tensor, left_BPD: Tensor, mask_BS: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        y_BSD, left_BPD = self.depthwise(F.glu(self.gate(self.norm(x_BSD))), left_BPD)
        y_BSD = self.pointwise(F.silu(self.conv_norm(y_BSD, mask_BS)))
        return self.dropout(y_BSD), left_BPD


class ConformerBlock(nn.Module):
    """One Conformer block; `normed` says whether a LayerNorm ends it."""

    def __init__(self, config: ConformerConfig, normed: bool) -> None:
        super().__init__()
        dim = config.dim
        self.first = FeedForward(dim, config.feedforward_dim, config.dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = CausalSelfAttention(dim, config.heads, config.left_context)
        self.dropout = nn.Dropout(config.dropout)
        self.conv = ConvModule(dim, config.kernel, config.dropout)
        self.second = FeedForward(dim, config.feedforward_dim, config.dropout)
        self.norm = nn.LayerNorm(dim) if normed else nn.Identity()

    def initial_state(self, batch_size: int, device: torch.device) -> ConformerBlockState:
        return ConformerBlockState(
            self.attention.initial_state(batch_size, device),
            self.conv.depthwise.initial_state(batch_size, device),
        )

    def forward(
        self, x_BSD: Tensor, state: ConformerBlockState, mask_BS: Tensor | None
    ) -> tuple[Tensor, ConformerBlockState]:
        x_BSD = x_BSD + 0.5 * self.first(x_BSD)
        y_BSD, attention = self.attention(self.attention_norm(x_BSD), state.attention)
        x_BSD = x_BSD + self.dropout(y_BSD)
        y_BSD, left_BPD = self.conv(x_BSD, state.left_BPD, mask_BS)
        x_BSD = x_BSD + y_BSD
        x_BSD = self.norm(x_BSD + 0.5 * self.second(x_BSD))
        return x_BSD, ConformerBlockState(attention, left_BPD)


class ConformerEncoder(StreamingEncoder):
    """The Conformer encoder: causal, without lookahead, with bounded memory."""

    def __init__(self, config: ConformerConfig, num_bins: int) -> None:
        super().__init__(num_bins, config, config.output_dim)
        self.input = nn.Linear(config.subsampling * num_bins, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        last = config.layers - 1
        self.blocks = nn.ModuleList(
            ConformerBlock(config, normed=config.block_norm or i == last) for i in range(last + 1)
        )
        self.depth = GrowingDepth([True] * last + [False], config.grow)
        self.output = nn.Linear(config.dim, config.output_dim)

    def first_state(self, batch_size: int, device: torch.device) -> ConformerState:
        return ConformerState(tuple(b.initial_state(batch_size, device) for b in self.blocks))

    def advance(
        self, x_BSF: Tensor, state: ConformerState, mask_BS: Tensor | None
    ) -> tuple[Tensor, ConformerState]:
        x_BSD, states = self.dropout(self.input(x_BSF)), []
        for i, (block, block_state) in enumerate(zip(self.blocks, state.blocks, strict=True)):
            if self.depth.counts(i):
                y_BSD, block_state = block(x_BSD, block_state, mask_BS)
                x_BSD = self.depth.mix(i, x_BSD, y_BSD)
            states.append(block_state)
        return self.output(x_BSD), ConformerState(tuple(states))

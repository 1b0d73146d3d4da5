"""The ConvRNN-T encoder (arXiv 2209.14868, section 2): local and global convolutions, then LSTM.

    stacked frames -> local CNN -+-> global CNN -+-> concat -> Linear -> LSTM stack
                                 +---------------+

Where the paper gives no details, the choice is ours:
- Width D may differ from that of the stacked input; the final Linear of the local CNN changes the
  width, or a separate Linear if the local CNN is off.
- `grouped` makes the dilated convolution depth-wise: each output channel has two of the 2D expanded
  channels as inputs.
- The squeeze-and-excite has no bottleneck. With an ungrouped convolution this gives the paper's
  model sizes.
- `local_stacking: channels` presents the stacked frames to the local CNN as image channels over the
  true frequency axis. Twice the number of channels then takes half the time.
- `merge_dim` sets the width of the Linear before the LSTMs. If it is the LSTMs' width, the first
  LSTM layer can have a residual connection too.

Shapes: B batch, S output frames, F stacked features, C image channels, D width, E = 2D,
N global blocks, P frames of left context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.encoders.base import FrontConfig, StreamingEncoder
from asrlib.errors import ConfigError
from asrlib.layers.growing_depth import GrowingDepth
from asrlib.layers.lstm_stack import LstmStack, LstmStackConfig, LstmState
from asrlib.layers.norm import MaskedBatchNorm
from asrlib.layers.squeeze_excite import CausalSqueezeExcite, SqueezeState
from asrlib.numbers import Count, Positive, Probability

_GLOBAL_KERNEL = 3


@configclass
class ConvRnntConfig(FrontConfig):
    """The ConvRNN-T encoder.

    Attributes:
        dim: width D of both convolutional parts.
        use_local: whether there is a local CNN; without it, a Linear maps the input to width D
            where the sizes differ.
        local_stacking: arrangement of the stacked frames at the local CNN: one after the other on
            the `frequency` axis (as in the paper), or as image `channels`.
        local_channels: number of channels of each 2-D convolution.
        local_kernel: kernel size in time and frequency; it must be odd.
        local_norm: whether BatchNorm follows the local CNN's final Linear. The paper has none. We
            assume that the part which rectified channels have in common, and which is the same in
            every frame, outweighs the changing part, and that the following LayerNorm keeps the
            former. No full training has shown yet that it helps.
        use_global: whether there is a global CNN.
        global_blocks: number of residual blocks; block i has a dilation of 2**i frames.
        grouped: whether the dilated convolutions are depth-wise.
        grow: share of the training steps over which the global blocks are added (`GrowingDepth`); 0
            means that all blocks are used from the start.
        merge_dim: outputs of the Linear before the LSTMs; 0 means D.
        dropout: dropout probability at the end of each global block.
        lstm: the LSTM stack.
        output_dim: outputs of the final Linear.
    """

    name: Literal["conv_rnnt"] = "conv_rnnt"
    dim: Positive = 128
    use_local: bool = True
    local_stacking: Literal["frequency", "channels"] = "frequency"
    local_channels: tuple[Positive, ...] = (8, 8, 8, 8)
    local_kernel: Positive = 5
    local_norm: bool = False
    use_global: bool = True
    global_blocks: Annotated[int, Field(gt=0, le=12)] = 6
    grouped: bool = False
    grow: Probability = 0.0
    merge_dim: Count = 0
    dropout: Probability = 0.1
    lstm: LstmStackConfig = LstmStackConfig()
    output_dim: Positive = 320

    def __post_init__(self) -> None:
        if not (self.use_local or self.use_global):
            raise ConfigError(
                "encoder.use_local and encoder.use_global are both false",
                "set one of them to true, or choose encoder.name: lstm",
            )
        if self.use_local and not self.local_channels:
            raise ConfigError("encoder.local_channels is empty", "list the channels of each layer")
        if self.local_kernel % 2 == 0:
            raise ConfigError(
                f"encoder.local_kernel: {self.local_kernel} is even", "give an odd kernel size"
            )

    def build(self, num_bins: int) -> ConvRnntEncoder:
        """Build the encoder, with random weights, for frames of `num_bins` features."""
        return ConvRnntEncoder(self, num_bins)


@dataclass(frozen=True)
class GlobalBlockState:
    """State of one block.

    Attributes:
        left_BPE: last inputs of the dilated convolution; zeros before the start.
        squeeze: state of the squeeze-and-excite.
    """

    left_BPE: Tensor
    squeeze: SqueezeState


@dataclass(frozen=True)
class ConvRnntState:
    """State of the encoder.

    Attributes:
        local: last inputs (B, C, P, F) of each local convolution; zeros before the start.
        blocks: states of the global blocks.
        lstm: state of the LSTM stack.
    """

    local: tuple[Tensor, ...]
    blocks: tuple[GlobalBlockState, ...]
    lstm: LstmState


class LocalCnn(nn.Module):
    """2-D convolutions with ReLU over time and frequency, causal in time; then a Linear.

    The paper does not describe the initialisation. Ours preserves the variance (He et al., arXiv
    1502.01852). With torch's default, four layers shrink the signal to a hundredth of what the
    global CNN adds to it, and the local CNN may hardly learn.
    """

    def __init__(self, num_bins: int, config: ConvRnntConfig) -> None:
        super().__init__()
        channels = config.subsampling if config.local_stacking == "channels" else 1
        self.image = (channels, num_bins * config.subsampling // channels)
        kernel = config.local_kernel
        self.left = kernel - 1
        self.convs = nn.ModuleList()
        for outputs in config.local_channels:
            padding = (0, kernel // 2)
            conv = nn.Conv2d(channels, outputs, kernel, padding=padding)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.get_parameter("bias"))
            self.convs.append(conv)
            channels = outputs
        self.output = nn.Linear(channels * self.image[1], config.dim)
        nn.init.kaiming_normal_(self.output.weight, nonlinearity="linear")
        nn.init.zeros_(self.output.bias)
        self.norm = MaskedBatchNorm(config.dim) if config.local_norm else None

    def initial_state(self, batch_size: int, device: torch.device) -> tuple[Tensor, ...]:
        weight = self.output.weight
        shapes = [(batch_size, c.in_channels, self.left, self.image[1]) for c in self.convs]
        return tuple(weight.new_zeros(shape, device=device) for shape in shapes)

    def forward(
        self, x_BSF: Tensor, state: tuple[Tensor, ...], mask_BS: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x_BCSF = x_BSF.unflatten(-1, self.image).transpose(1, 2)
        new_state = []
        for conv, left_BCPF in zip(self.convs, state, strict=True):
            x_BCSF = torch.cat([left_BCPF, x_BCSF], dim=2)
            new_state.append(x_BCSF[:, :, x_BCSF.shape[2] - self.left :])
            # With channels last, the backward pass on a CPU takes a quarter less time.
            x_BCSF = conv(x_BCSF.contiguous(memory_format=torch.channels_last)).relu()
        x_BSD = self.output(x_BCSF.permute(0, 2, 3, 1).flatten(start_dim=2))
        if self.norm is not None:
            x_BSD = self.norm(x_BSD, mask_BS)
        return x_BSD, tuple(new_state)


class GlobalBlock(nn.Module):
    """One residual block of the global CNN, with a dilated convolution."""

    def __init__(self, config: ConvRnntConfig, dilation: int) -> None:
        super().__init__()
        dim = config.dim
        self.left = (_GLOBAL_KERNEL - 1) * dilation
        self.expand = nn.Linear(dim, 2 * dim)
        self.expand_norm = MaskedBatchNorm(2 * dim)
        groups = dim if config.grouped else 1
        self.conv = nn.Conv1d(2 * dim, dim, _GLOBAL_KERNEL, dilation=dilation, groups=groups)
        self.conv_norm = MaskedBatchNorm(dim)
        self.pointwise = nn.Linear(dim, dim)
        self.squeeze_excite = CausalSqueezeExcite(dim)
        self.dropout = nn.Dropout(config.dropout)

    def initial_state(self, batch_size: int, device: torch.device) -> GlobalBlockState:
        shape = (batch_size, self.left, self.expand.out_features)
        left_BPE = self.expand.weight.new_zeros(shape, device=device)
        return GlobalBlockState(left_BPE, self.squeeze_excite.initial_state(batch_size, device))

    def forward(
        self, x_BSD: Tensor, state: GlobalBlockState, mask_BS: Tensor | None
    ) -> tuple[Tensor, GlobalBlockState]:
        e_BSE = self.expand_norm(self.expand(x_BSD).relu(), mask_BS)
        e_BSE = torch.cat([state.left_BPE, e_BSE], dim=1)
        left_BPE = e_BSE[:, e_BSE.shape[1] - self.left :]
        z_BSD = self.conv(e_BSE.transpose(1, 2)).transpose(1, 2)
        z_BSD = self.pointwise(self.conv_norm(z_BSD.relu(), mask_BS))
        z_BSD, squeeze = self.squeeze_excite(z_BSD, state.squeeze)
        return x_BSD + self.dropout(z_BSD), GlobalBlockState(left_BPE, squeeze)


class ConvRnntEncoder(StreamingEncoder):
    """The ConvRNN-T encoder: local CNN, global CNN, LSTM stack; causal, without lookahead."""

    def __init__(self, config: ConvRnntConfig, num_bins: int) -> None:
        super().__init__(num_bins, config, config.output_dim)
        num_features = config.subsampling * num_bins
        self.local = LocalCnn(num_bins, config) if config.use_local else None
        self.input = nn.Identity()
        if self.local is None and num_features != config.dim:
            self.input = nn.Linear(num_features, config.dim)
        num_blocks = config.global_blocks if config.use_global else 0
        self.blocks = nn.ModuleList(GlobalBlock(config, 2**i) for i in range(num_blocks))
        self.depth = GrowingDepth([True] * num_blocks, config.grow)
        merged = config.dim * (config.use_local + config.use_global)
        width = config.merge_dim or config.dim
        both = config.use_local and config.use_global
        self.merge = nn.Linear(merged, width) if both or merged != width else None
        self.lstm = LstmStack(width, config.lstm, config.output_dim)

    def first_state(self, batch_size: int, device: torch.device) -> ConvRnntState:
        return ConvRnntState(
            local=() if self.local is None else self.local.initial_state(batch_size, device),
            blocks=tuple(block.initial_state(batch_size, device) for block in self.blocks),
            lstm=self.lstm.initial_state(batch_size, device),
        )

    def advance(
        self, x_BSF: Tensor, state: ConvRnntState, mask_BS: Tensor | None
    ) -> tuple[Tensor, ConvRnntState]:
        local_state = state.local
        if self.local is None:
            local_BSD = self.input(x_BSF)
        else:
            local_BSD, local_state = self.local(x_BSF, state.local, mask_BS)
        x_BSD = local_BSD
        block_states = []
        for i, (block, block_state) in enumerate(zip(self.blocks, state.blocks, strict=True)):
            if self.depth.counts(i):
                y_BSD, block_state = block(x_BSD, block_state, mask_BS)
                x_BSD = self.depth.mix(i, x_BSD, y_BSD)
            block_states.append(block_state)
        if self.local is not None and self.blocks:
            x_BSD = torch.cat([local_BSD, x_BSD], dim=-1)
        if self.merge is not None:
            x_BSD = self.merge(x_BSD)
        h_BSD, lstm_state = self.lstm(x_BSD, state.lstm)
        return h_BSD, ConvRnntState(local_state, tuple(block_states), lstm_state)

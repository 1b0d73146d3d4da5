"""The encoder that separates talkers: one input, several output channels.

The sources are arXiv 2205.05199 and 2112.10200.

Shapes: B streams, N channels, S output frames, F stacked features, D width, L layers, H hidden
units, R = B * N output rows. The channels of a stream are adjacent rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.encoders.base import FrontConfig, StreamingEncoder, TakesWeights
from asrlib.encoders.state import map_state
from asrlib.layers.lstm_stack import LstmStack, LstmStackConfig, LstmState
from asrlib.numbers import Count, Positive
from asrlib.text.turn_labels import TurnStyle


@configclass
class SeparatorConfig(FrontConfig):
    """The separator encoder.

    Attributes:
        input_dim: outputs of a Linear + LayerNorm before the first LSTM stack; 0 means no
            such layer.
        channels: number of output channels, that is, of talkers who may speak at the same time.
            With 1 it is an ordinary encoder: the single-channel path, which is trained first.
        lstm: the LSTM stack of each module.
        module_dim: outputs of the mixture encoder (MixEnc) and of the separation encoders (SepEnc).
        output_dim: outputs of the recognition encoder (RecEnc).
        turn_style: symbols that separate the turns of a channel: `sot_eot`, or `cot` (MT-RNN-T).
    """

    name: Literal["separator"] = "separator"
    input_dim: Count = 0
    channels: Positive = 2
    lstm: LstmStackConfig = LstmStackConfig(layers=2)
    module_dim: Positive = 320
    output_dim: Positive = 320
    turn_style: TurnStyle = "sot_eot"

    def build(self, num_bins: int) -> SeparatorEncoder:
        """Build the encoder, with random weights, for frames of `num_bins` features."""
        return SeparatorEncoder(self, num_bins)


@dataclass(frozen=True)
class SeparatorState:
    """States of the modules.

    Attributes:
        mixture: state of the mixture encoder.
        separators: state of each channel's separation encoder.
        recogniser: states of the shared recognition encoder for all channels, as tensors
            (B, N, L, H).
    """

    mixture: LstmState
    separators: tuple[LstmState, ...]
    recogniser: LstmState


class SeparatorEncoder(StreamingEncoder, TakesWeights):
    """The separator encoder: `h_n = RecEnc(SepEnc_n(MixEnc(x)))`, without masks.

    All channels share RecEnc; each channel n has its own SepEnc_n. The paper does not say where
    LayerNorm is applied and whether a Linear ends a stack; both are as in our LSTM stacks.
    """

    def __init__(self, config: SeparatorConfig, num_bins: int) -> None:
        super().__init__(num_bins, config, config.output_dim)
        self.num_channels = config.channels
        dim = config.subsampling * num_bins
        self.input = nn.Identity()
        if config.input_dim:
            linear = nn.Linear(dim, config.input_dim)
            self.input = nn.Sequential(linear, nn.LayerNorm(config.input_dim))
            dim = config.input_dim
        self.mixture = LstmStack(dim, config.lstm, config.module_dim)
        self.separators = nn.ModuleList(
            LstmStack(config.module_dim, config.lstm, config.module_dim)
            for _ in range(config.channels)
        )
        self.recogniser = LstmStack(config.module_dim, config.lstm, config.output_dim)

    def first_state(self, batch_size: int, device: torch.device) -> SeparatorState:
        rows = self.recogniser.initial_state(batch_size * self.num_channels, device)
        return SeparatorState(
            self.mixture.initial_state(batch_size, device),
            tuple(stack.initial_state(batch_size, device) for stack in self.separators),
            map_state(self._by_stream, rows),
        )

    def take_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert another encoder's `state_dict` into one of this encoder.

        If the other encoder has one channel (the paper trains such a model first), the separation
        encoders of all channels start from its separation encoder. They diverge in training,
        because the labels differ between channels.
        """
        taken = dict(weights)
        if not any(name.startswith("separators.1.") for name in weights):
            single = {k: v for k, v in weights.items() if k.startswith("separators.0.")}
            for channel in range(1, self.num_channels):
                taken |= {f"separators.{channel}.{k[13:]}": v for k, v in single.items()}
        return taken

    def _by_stream(self, x_RLH: Tensor) -> Tensor:
        return x_RLH.unflatten(0, (-1, self.num_channels))

    def advance(
        self, x_BSF: Tensor, state: SeparatorState, mask_BS: Tensor | None
    ) -> tuple[Tensor, SeparatorState]:
        x_BSD, mixture = self.mixture(self.input(x_BSF), state.mixture)
        separated = [
            stack(x_BSD, s) for stack, s in zip(self.separators, state.separators, strict=True)
        ]
        channels_BNSD = torch.stack([h_BSD for h_BSD, _ in separated], dim=1)
        rows = map_state(lambda x: x.flatten(0, 1), state.recogniser)
        h_RSD, rows = self.recogniser(channels_BNSD.flatten(0, 1), rows)
        separators = tuple(s for _, s in separated)
        return h_RSD, SeparatorState(mixture, separators, map_state(self._by_stream, rows))

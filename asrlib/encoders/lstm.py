"""The encoder of the LSTM RNN-T (arXiv 1211.3711 and 2209.14868).

Shapes: B batch, S output frames, F stacked features, D width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.encoders.base import FrontConfig, StreamingEncoder
from asrlib.layers.lstm_stack import LstmStack, LstmStackConfig, LstmState
from asrlib.numbers import Count, Positive


@configclass
class LstmConfig(FrontConfig):
    """The LSTM encoder.

    Attributes:
        input_dim: outputs of a Linear + LayerNorm before the LSTM stack; 0 means no such layer.
        lstm: the LSTM stack.
        output_dim: outputs of the final Linear.
    """

    name: Literal["lstm"] = "lstm"
    input_dim: Count = 0
    lstm: LstmStackConfig = LstmStackConfig()
    output_dim: Positive = 320

    def build(self, num_bins: int) -> LstmEncoder:
        """Build the encoder, with random weights, for frames of `num_bins` features."""
        return LstmEncoder(self, num_bins)


class LstmEncoder(StreamingEncoder):
    """The encoder of the baseline RNN-T: stacked frames -> [Linear, LayerNorm] -> LSTM stack.

    The papers do not say where normalisation is applied. LayerNorm before each layer and the
    input Linear are our choice, and both can be switched off.
    """

    def __init__(self, config: LstmConfig, num_bins: int) -> None:
        super().__init__(num_bins, config, config.output_dim)
        dim = config.subsampling * num_bins
        self.input = nn.Identity()
        if config.input_dim:
            linear = nn.Linear(dim, config.input_dim)
            self.input = nn.Sequential(linear, nn.LayerNorm(config.input_dim))
        self.lstm = LstmStack(config.input_dim or dim, config.lstm, config.output_dim)

    def first_state(self, batch_size: int, device: torch.device) -> LstmState:
        return self.lstm.initial_state(batch_size, device)

    def advance(
        self, x_BSF: Tensor, state: LstmState, mask_BS: Tensor | None
    ) -> tuple[Tensor, LstmState]:
        return self.lstm(self.input(x_BSF), state)

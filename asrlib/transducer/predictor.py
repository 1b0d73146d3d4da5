"""Prediction networks: they encode the symbols emitted so far.

A symbol below 0 means "no symbol"; its embedding is zero. In training, a sequence starts with
blank, `y = [blank, y1, ..., yU]`, and gives U + 1 outputs. In decoding, `step` gives the same
outputs one by one, starting with `step(blank, initial_state)`.

Shapes: B batch, U symbols, C context, D width, L layers, H hidden units.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.numbers import Positive, Probability


@configclass
class StatelessConfig:
    """The stateless predictor.

    Attributes:
        context: number of last symbols that an output depends on.
        output_dim: width of the embedding and of the output.
        dropout: dropout probability on the output.
    """

    name: Literal["stateless"] = "stateless"
    context: Positive = 2
    output_dim: Positive = 256
    dropout: Probability = 0.0

    def build(self, vocab_size: int) -> StatelessPredictor:
        """The predictor, with random weights, for `vocab_size` symbols, blank included."""
        return StatelessPredictor(self, vocab_size)


@configclass
class LstmPredictorConfig:
    """The LSTM predictor.

    Attributes:
        embedding_dim: width of the embedding.
        layers: number of LSTM layers.
        hidden_dim: hidden units per layer.
        layer_norm: whether a LayerNorm follows the last LSTM layer.
        output_dim: outputs of the final Linear.
        dropout: dropout probability on the embedding and before the final Linear.
    """

    name: Literal["lstm"] = "lstm"
    embedding_dim: Positive = 128
    layers: Positive = 1
    hidden_dim: Positive = 256
    layer_norm: bool = True
    output_dim: Positive = 256
    dropout: Probability = 0.0

    def build(self, vocab_size: int) -> LstmPredictor:
        """The predictor, with random weights, for `vocab_size` symbols, blank included."""
        return LstmPredictor(self, vocab_size)


PredictorConfig = Annotated[StatelessConfig | LstmPredictorConfig, Field(discriminator="name")]


class Predictor(nn.Module, abc.ABC):
    """The streaming interface of prediction networks.

    Attributes:
        output_dim: features per output.
    """

    output_dim: int

    def __init__(self, vocab_size: int, embedding_dim: int, output_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.output_dim = output_dim

    @abc.abstractmethod
    def forward(self, y_BU: Tensor) -> Tensor:
        """Return the outputs d_BUD after each symbol, starting from the initial state."""

    @abc.abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """Return the state before the first symbol."""

    @abc.abstractmethod
    def step(self, y_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output d_BD after one more symbol per sequence, and the new state."""

    def embed(self, y_BU: Tensor) -> Tensor:
        """Embed the symbols; the embedding of a symbol below 0 is zero."""
        return self.embedding(y_BU.clamp(min=0)) * (y_BU >= 0).unsqueeze(-1)


@dataclass(frozen=True)
class StatelessState:
    """The last `context - 1` symbols of each sequence; -1 before its start."""

    y_BC: Tensor


class StatelessPredictor(Predictor):
    """Embedding, depth-wise convolution over the last symbols, ReLU.

    Ghodsi et al. (ICASSP 2020) show that a predictor needs no recurrent state; the convolution
    over a short context is common practice.
    """

    def __init__(self, config: StatelessConfig, vocab_size: int) -> None:
        super().__init__(vocab_size, config.output_dim, config.output_dim)
        self.context = config.context
        dim = config.output_dim
        self.conv = nn.Conv1d(dim, dim, config.context, groups=dim, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, y_BU: Tensor) -> Tensor:
        return self.windows(F.pad(y_BU, (self.context - 1, 0), value=-1))

    def windows(self, y_BU: Tensor) -> Tensor:
        """Return the outputs for all U - context + 1 full windows of `context` symbols."""
        e_BDU = self.embed(y_BU).transpose(1, 2)
        return self.dropout(self.conv(e_BDU).relu()).transpose(1, 2)

    def window(self, y_BC: Tensor) -> Tensor:
        """Return the output of one window per sequence, as `windows` does.

        A weighted sum is several times faster here than a convolution.
        """
        sum_BD = (self.embed(y_BC) * self.conv.weight[:, 0].T).sum(dim=1)
        return self.dropout(sum_BD.relu())

    def initial_state(self, batch_size: int) -> StatelessState:
        shape = (batch_size, self.context - 1)
        return StatelessState(torch.full(shape, -1, device=self.embedding.weight.device))

    def step(self, y_B: Tensor, state: StatelessState) -> tuple[Tensor, StatelessState]:
        y_BC = torch.cat([state.y_BC, y_B.unsqueeze(1)], dim=1)
        return self.window(y_BC), StatelessState(y_BC[:, 1:])


@dataclass(frozen=True)
class LstmPredictorState:
    """Hidden states `h_BLH` and cell states `c_BLH` of all layers."""

    h_BLH: Tensor
    c_BLH: Tensor


class LstmPredictor(Predictor):
    """Embedding, LSTM, [LayerNorm], Linear: the label encoder of arXiv 1211.3711."""

    def __init__(self, config: LstmPredictorConfig, vocab_size: int) -> None:
        super().__init__(vocab_size, config.embedding_dim, config.output_dim)
        self.lstm = nn.LSTM(
            config.embedding_dim, config.hidden_dim, config.layers, batch_first=True
        )
        self.norm = nn.LayerNorm(config.hidden_dim) if config.layer_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden_dim, config.output_dim)

    def forward(self, y_BU: Tensor) -> Tensor:
        return self._advance(y_BU, self.initial_state(y_BU.shape[0]))[0]

    def initial_state(self, batch_size: int) -> LstmPredictorState:
        shape = (batch_size, self.lstm.num_layers, self.lstm.hidden_size)
        zeros_BLH = self.output.weight.new_zeros(shape)
        return LstmPredictorState(zeros_BLH, zeros_BLH)

    def step(self, y_B: Tensor, state: LstmPredictorState) -> tuple[Tensor, LstmPredictorState]:
        d_BUD, state = self._advance(y_B.unsqueeze(1), state)
        return d_BUD.squeeze(1), state

    def _advance(
        self, y_BU: Tensor, state: LstmPredictorState
    ) -> tuple[Tensor, LstmPredictorState]:
        hc = tuple(x.transpose(0, 1).contiguous() for x in (state.h_BLH, state.c_BLH))
        e_BUE = self.dropout(self.embed(y_BU))
        d_BUH, (h_LBH, c_LBH) = self.lstm(e_BUE, hc)
        d_BUD = self.output(self.dropout(self.norm(d_BUH)))
        return d_BUD, LstmPredictorState(h_LBH.transpose(0, 1), c_LBH.transpose(0, 1))

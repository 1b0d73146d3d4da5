"""Prediction networks: what the symbols so far say about the next.

Symbols below 0 mean "none": their embedding is zero. In training a sequence starts with blank,
`y = [blank, y1, ..., yU]`, and gives U + 1 outputs; in decoding the same comes one by one from
`step(blank, initial_state)` on.

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
        context: symbols it sees.
        output_dim: width of embedding and output.
        dropout: probability, on the output.
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
        layers: LSTM layers.
        hidden_dim: units of each.
        layer_norm: LayerNorm after the last LSTM layer.
        output_dim: outputs of the closing Linear.
        dropout: probability, on the embedding and before the closing Linear.
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
        """Outputs d_BUD after each of the symbols, from the initial state."""

    @abc.abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """The state before any symbol."""

    @abc.abstractmethod
    def step(self, y_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Output d_BD after one more symbol each, and the new state."""

    def embed(self, y_BU: Tensor) -> Tensor:
        """Embeddings; zero for symbols below 0."""
        return self.embedding(y_BU.clamp(min=0)) * (y_BU >= 0).unsqueeze(-1)


@dataclass(frozen=True)
class StatelessState:
    """The last `context - 1` symbols; -1 before the start."""

    y_BC: Tensor


class StatelessPredictor(Predictor):
    """Embedding, depth-wise convolution over the last symbols, ReLU (Ghodsi et al., ICASSP
    2020: no state is needed; the convolution over a short context is common practice)."""

    def __init__(self, config: StatelessConfig, vocab_size: int) -> None:
        super().__init__(vocab_size, config.output_dim, config.output_dim)
        self.context = config.context
        dim = config.output_dim
        self.conv = nn.Conv1d(dim, dim, config.context, groups=dim, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, y_BU: Tensor) -> Tensor:
        return self.windows(F.pad(y_BU, (self.context - 1, 0), value=-1))

    def windows(self, y_BU: Tensor) -> Tensor:
        """Outputs for each full window of `context` symbols: U - context + 1 of them."""
        e_BDU = self.embed(y_BU).transpose(1, 2)
        return self.dropout(self.conv(e_BDU).relu()).transpose(1, 2)

    def window(self, y_BC: Tensor) -> Tensor:
        """As `windows`, of one window each: a sum is several times quicker than a convolution."""
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
    """Hidden and cell state of every layer."""

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

"""A stack of unidirectional LSTM layers, for encoders and predictors.

Shapes: B batch, S frames, D width, L layers, H hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asrlib.config import configclass
from asrlib.layers.compiled_ops import kernels
from asrlib.layers.lstm_kernel import FastLstm, compiled
from asrlib.numbers import Count, Positive, Probability


@configclass
class LstmStackConfig:
    """A stack of unidirectional LSTM layers.

    Attributes:
        layers: number of layers.
        hidden_dim: hidden units per layer.
        projection_dim: outputs of a Linear + Swish after each layer; 0 means no projection.
        layer_norm: whether a LayerNorm precedes each layer.
        residual: whether a layer's input is added to its output where their sizes agree.
        dropout: dropout probability after each layer.
        forget_bias: added to the random initial bias of the forget gates; above 0, cells keep what
            they hold from the first update on (Jozefowicz et al., ICML 2015, recommend 1).
    """

    layers: Positive = 4
    hidden_dim: Positive = 320
    projection_dim: Count = 0
    layer_norm: bool = True
    residual: bool = False
    dropout: Probability = 0.1
    forget_bias: float = 0.0


@dataclass(frozen=True)
class LstmState:
    """Hidden states `h_BLH` and cell states `c_BLH` of all layers."""

    h_BLH: Tensor
    c_BLH: Tensor


class LstmLayer(nn.Module):
    """[LayerNorm] -> LSTM -> [Linear, Swish] -> dropout -> [+ input]; the first axis is time."""

    def __init__(self, input_dim: int, config: LstmStackConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(input_dim) if config.layer_norm else nn.Identity()
        self.lstm = FastLstm(input_dim, config.hidden_dim)
        with torch.no_grad():  # the second of the four gates
            self.lstm.bias_ih_l0.unflatten(0, (4, -1))[1].add_(config.forget_bias)
        self.output_dim = config.projection_dim or config.hidden_dim
        self.projection = nn.Identity()
        if config.projection_dim:
            linear = nn.Linear(config.hidden_dim, config.projection_dim)
            self.projection = nn.Sequential(linear, nn.SiLU())
        self.dropout = nn.Dropout(config.dropout)
        self.residual = config.residual and self.output_dim == input_dim

    def forward(self, x_SBD: Tensor, h_BH: Tensor, c_BH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states_1BH = h_BH.unsqueeze(0).contiguous(), c_BH.unsqueeze(0).contiguous()
        y_SBH, (h_1BH, c_1BH) = self.lstm(self.norm(x_SBD), states_1BH)
        y_SBD = self.dropout(self.projection(y_SBH))
        if self.residual:
            y_SBD = y_SBD + x_SBD
        return y_SBD, h_1BH.squeeze(0), c_1BH.squeeze(0)


class LstmStack(nn.Module):
    """LSTM layers and a final Linear; the stack is causal, so padding at the end needs no mask."""

    def __init__(self, input_dim: int, config: LstmStackConfig, output_dim: int) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList()
        for _ in range(config.layers):
            self.layers.append(LstmLayer(input_dim, config))
            input_dim = self.layers[-1].output_dim
        self.output = nn.Linear(input_dim, output_dim)
        # In the order of the compiled operation; a list, since module attributes are slow to read.
        self._weights = [weight for layer in self.layers for weight in layer.parameters()]

    def initial_state(self, batch_size: int, device: torch.device | None = None) -> LstmState:
        weight = self.output.weight
        shape = (batch_size, self.config.layers, self.config.hidden_dim)
        zeros_BLH = weight.new_zeros(shape, device=device or weight.device)
        return LstmState(zeros_BLH, zeros_BLH)

    def forward(self, x_BSD: Tensor, state: LstmState) -> tuple[Tensor, LstmState]:
        x_SBD = x_BSD.transpose(0, 1)
        inference = not self.training and not torch.is_grad_enabled()
        if inference and not self.config.projection_dim and compiled(x_BSD):
            h_LBH, c_LBH = (t.transpose(0, 1).contiguous() for t in (state.h_BLH, state.c_BLH))
            how = (self.config.layer_norm, self.config.residual)
            x_SBD, h_LBH, c_LBH = kernels().lstm_stack(x_SBD, h_LBH, c_LBH, self._weights, *how)
            after = LstmState(h_LBH.transpose(0, 1), c_LBH.transpose(0, 1))
            return self.output(x_SBD).transpose(0, 1), after
        hidden, cells = [], []
        for i, layer in enumerate(self.layers):
            x_SBD, h_BH, c_BH = layer(x_SBD, state.h_BLH[:, i], state.c_BLH[:, i])
            hidden.append(h_BH)
            cells.append(c_BH)
        y_BSD = self.output(x_SBD).transpose(0, 1)
        return y_BSD, LstmState(torch.stack(hidden, dim=1), torch.stack(cells, dim=1))

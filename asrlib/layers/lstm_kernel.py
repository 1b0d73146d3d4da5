"""An LSTM layer that is faster on CPUs than torch's layer and has the same weights.

On a CPU, torch 1.13 calls about ten operations per frame. In training, autograd records each of
them, and every frame adds its own gradient of the recurrent matrix. Here the recurrence is one
compiled operation, its gradient is another (lstm_layer.cc), and one product over all frames gives
the gradient of the recurrent matrix. torch's layer runs on a GPU, for types other than float32,
and where the compiled operations are missing.

Shapes: S frames, B batch, D inputs, H units, G = 4H gates in torch's order: input, forget, cell,
output.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from asrlib.layers.compiled_ops import kernels, kernels_work


def compiled(x: Tensor) -> bool:
    """Whether the compiled operations can process this input: float32 on a CPU."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and kernels_work()


class FastLstm(nn.LSTM):
    """One unidirectional LSTM layer with torch's weights and interface; the first axis is time."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__(input_dim, hidden_dim)

    def forward(
        self, x_SBD: Tensor, states_1BH: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return outputs (S, B, H), and hidden and cell state (1, B, H) after the last frame."""
        if x_SBD.device.type != "cpu":
            return super().forward(x_SBD, states_1BH)
        # On a CPU, torch's autocast does not know LSTMs.
        with torch.autocast("cpu", enabled=False):
            x_SBD = x_SBD.to(self.weight_ih_l0.dtype)
            if not compiled(x_SBD):
                return super().forward(x_SBD, states_1BH)
            return self._compiled(x_SBD, states_1BH)

    def _compiled(
        self, x_SBD: Tensor, states_1BH: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        gates_SBG = F.linear(x_SBD, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
        before_BH = (state_1BH.squeeze(0) for state_1BH in states_1BH)
        y_SBH, *last_BH = _Recurrence.apply(gates_SBG, self.weight_hh_l0, *before_BH)
        return y_SBH, (last_BH[0].unsqueeze(0), last_BH[1].unsqueeze(0))


class _Recurrence(torch.autograd.Function):
    """The recurrent part: from the input's share of the gates to outputs and last states."""

    @staticmethod
    def forward(
        ctx: Any, gates_SBG: Tensor, weight_GH: Tensor, h_BH: Tensor, c_BH: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # y and c hold hidden and cell states (S + 1, B, H): the initial ones, then one per frame.
        y, c, opened_SBG = kernels().lstm(gates_SBG, weight_GH, h_BH, c_BH)
        ctx.save_for_backward(weight_GH, opened_SBG, c, y)
        return y[1:], y[-1].clone(), c[-1].clone()

    @staticmethod
    @once_differentiable
    # torch's decorator has no types, which hides that the method is static.
    # pyrefly: ignore[bad-override]
    def backward(ctx: Any, dy_SBH: Tensor, dh_BH: Tensor, dc_BH: Tensor) -> tuple[Tensor, ...]:
        *known, y = ctx.saved_tensors
        d_SBG, dh_BH, dc_BH = kernels().lstm_backward(dy_SBH, dh_BH, dc_BH, *known)
        d_weight_GH = d_SBG.flatten(0, 1).t() @ y[:-1].flatten(0, 1)
        return d_SBG, d_weight_GH, dh_BH, dc_BH

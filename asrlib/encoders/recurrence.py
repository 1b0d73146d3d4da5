"""An LSTM layer that is faster on CPUs than torch's, from the same weights.

In training: torch 1.13 on a CPU lets autograd follow every frame: each adds its own gradient of the
recurrent matrix, and each of some twenty small operations is recorded. Here a layer is one
operation whose gradient is written out (arXiv 1503.04069, section II, without peepholes): one
product of all frames gives the matrix's, and each gate lies by itself, for operations on slices of
rows take several times as long. In inference: one compiled operation (lstm_layer.cc). On a GPU, or
where that is missing, torch's layer runs.

Shapes: S frames, B batch, D inputs, H units, G = 4H gates in torch's order: input, forget, cell,
output.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from asrlib.encoders.kernels import kernels, kernels_work

# Frames whose slopes are computed together: as many as stay in a core's cache.
_HOT = 16


def run_lstm(
    lstm: nn.LSTM, x_SBD: Tensor, h_BH: Tensor, c_BH: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What a unidirectional layer puts out (S, B, H), its last hidden and its last cell state."""
    inference = not torch.is_grad_enabled()
    if inference and x_SBD.device.type == "cpu" and x_SBD.dtype == torch.float32 and kernels_work():
        weights = (lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
        return kernels().lstm(x_SBD, h_BH, c_BH, weights)
    if x_SBD.is_cuda or inference or len(x_SBD) == 0:
        y_SBH, (h_1BH, c_1BH) = lstm(
            x_SBD, (h_BH.unsqueeze(0).contiguous(), c_BH.unsqueeze(0).contiguous())
        )
        return y_SBH, h_1BH.squeeze(0), c_1BH.squeeze(0)
    gates_SBG = F.linear(x_SBD, lstm.weight_ih_l0, lstm.bias_ih_l0 + lstm.bias_hh_l0)
    return _Recurrence.apply(gates_SBG, lstm.weight_hh_l0, h_BH, c_BH)


class _Recurrence(torch.autograd.Function):
    """The recurrent part: gates that the input has contributed to -> outputs and last states."""

    @staticmethod
    def forward(
        ctx: Any, gates_SBG: Tensor, weight_GH: Tensor, h_BH: Tensor, c_BH: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        frames, batch, width = gates_SBG.shape
        units = width // 4
        weight_4HH = weight_GH.unflatten(0, (4, units)).transpose(1, 2).contiguous()
        gates_S4BH = gates_SBG.unflatten(2, (4, units)).transpose(1, 2)
        opened_S4BH = gates_SBG.new_empty(frames, 4, batch, units)
        # States before the first frame, and after each.
        y, c = (gates_SBG.new_empty(frames + 1, batch, units) for _ in range(2))
        y[0], c[0] = h_BH, c_BH
        tanh_c = gates_SBG.new_empty(frames, batch, units)
        h_S4BH = y[:-1].unsqueeze(1).expand(-1, 4, -1, -1)
        steps = (gates_S4BH, h_S4BH, opened_S4BH, opened_S4BH[:, :2])
        states = (c[:-1], c[1:], tanh_c, y[1:])
        for gates, h, opened, i_f, c_old, c_new, tanh, y_new in _frames(*steps, *states):
            torch.baddbmm(gates, h, weight_4HH, out=opened)
            i_f.sigmoid_()
            i, f, g, o = opened.unbind(0)
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, c_old, out=c_new)
            c_new.addcmul_(i, g)
            torch.tanh(c_new, out=tanh)
            torch.mul(o, tanh, out=y_new)
        ctx.save_for_backward(weight_GH, opened_S4BH, c, y, tanh_c)
        return y[1:], y[frames].clone(), c[frames].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_SBH: Tensor, dh_BH: Tensor, dc_BH: Tensor) -> tuple[Tensor, ...]:
        weight_GH, opened_S4BH, c, y, tanh_c = ctx.saved_tensors
        frames, _, batch, units = opened_S4BH.shape
        d_SBG = opened_S4BH.new_empty(frames, batch, 4 * units)
        for end in range(frames, 0, -_HOT):
            part = slice(max(end - _HOT, 0), end)
            opened, d_4H = opened_S4BH[part], d_SBG[part].unflatten(2, (4, units))
            by_cell, by_hidden, to_cell = _slopes(opened, c[part], tanh_c[part])
            factors = (dy_SBH[part], to_cell, by_cell, by_hidden, opened[:, 1])
            out = (d_4H[:, :, :3], d_4H[:, :, 3], d_SBG[part])
            for dy, to_c, by_c, by_h, f, d_cell, d_hidden, d in _frames(*factors, *out, back=True):
                dh_BH = dh_BH + dy
                dc_BH = torch.addcmul(dc_BH, dh_BH, to_c)
                torch.mul(dc_BH.unsqueeze(1), by_c, out=d_cell)
                torch.mul(dh_BH, by_h, out=d_hidden)
                dc_BH = dc_BH * f
                dh_BH = d @ weight_GH
        d_weight_GH = d_SBG.flatten(0, 1).t() @ y[:-1].flatten(0, 1)
        return d_SBG, d_weight_GH, dh_BH, dc_BH


def _slopes(opened_S4BH: Tensor, c_SBH: Tensor, tanh_c_SBH: Tensor) -> tuple[Tensor, ...]:
    """What a unit of gradient at the cell (S, B, 3, H), or at the hidden state (S, B, H), does to
    the gates before their sigmoid or tanh; and one at the hidden state to the cell (S, B, H)."""
    i, f, g, o = opened_S4BH.unbind(1)
    by_cell = torch.stack([g * i * (1 - i), c_SBH * f * (1 - f), i * (1 - g * g)], dim=2)
    return by_cell, tanh_c_SBH * o * (1 - o), o * (1 - tanh_c_SBH * tanh_c_SBH)


def _frames(*tensors: Tensor, back: bool = False) -> Iterable[tuple[Tensor, ...]]:
    """Tensors of a frame each, the first frame first, or last."""
    parts = (x.unbind(0) for x in tensors)
    return zip(*(p[::-1] if back else p for p in parts), strict=True)

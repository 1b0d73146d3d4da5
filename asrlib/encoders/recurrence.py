"""An LSTM layer that trains faster on CPUs than torch's, from the same weights.

torch 1.13 on a CPU lets autograd follow every frame: each adds its own gradient of the recurrent
matrix, and each of some twenty small operations is recorded. Here a layer is one operation whose
gradient is written out (arXiv 1503.04069, section II, without peepholes): one product of all
frames gives the matrix's. Where there is no gradient, or on a GPU, torch's layer runs.

Shapes: S frames, B batch, D inputs, H units, G = 4H gates in torch's order: input, forget, cell,
output.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def run_lstm(
    lstm: nn.LSTM, x_SBD: Tensor, h_BH: Tensor, c_BH: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What a unidirectional layer puts out (S, B, H), its last hidden and its last cell state."""
    if x_SBD.is_cuda or not torch.is_grad_enabled() or len(x_SBD) == 0:
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
        weight_HG = weight_GH.t().contiguous()
        opened_SBG = torch.empty_like(gates_SBG)
        # States before the first frame, and after each.
        y, c = (gates_SBG.new_empty(frames + 1, batch, units) for _ in range(2))
        y[0], c[0] = h_BH, c_BH
        tanh_c = gates_SBG.new_empty(frames, batch, units)
        ys, cs, tanhs = y.unbind(0), c.unbind(0), tanh_c.unbind(0)
        for s, (gates, opened) in enumerate(
            zip(gates_SBG.unbind(0), opened_SBG.unbind(0), strict=True)
        ):
            torch.addmm(gates, ys[s], weight_HG, out=opened)
            through, cell, output = opened.split([2 * units, units, units], dim=1)
            through.sigmoid_()
            cell.tanh_()
            output.sigmoid_()
            torch.mul(through[:, units:], cs[s], out=cs[s + 1])
            cs[s + 1].addcmul_(through[:, :units], cell)
            torch.tanh(cs[s + 1], out=tanhs[s])
            torch.mul(output, tanhs[s], out=ys[s + 1])
        ctx.save_for_backward(weight_GH, opened_SBG, c, y, tanh_c)
        return y[1:], y[frames].clone(), c[frames].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_SBH: Tensor, dh_BH: Tensor, dc_BH: Tensor) -> tuple[Tensor, ...]:
        weight_GH, opened_SBG, c, y, tanh_c = ctx.saved_tensors
        i, f, g, o = opened_SBG.unflatten(2, (4, -1)).unbind(2)
        # What a unit of gradient at the cell, or at the hidden state, does to each gate.
        by_cell = torch.stack([g * i * (1 - i), c[:-1] * f * (1 - f), i * (1 - g * g)], dim=2)
        by_hidden = tanh_c * o * (1 - o)
        to_cell = o * (1 - tanh_c * tanh_c)
        d_SBG = torch.empty_like(opened_SBG)
        d_SB4H = d_SBG.unflatten(2, (4, -1))
        d_cell, d_hidden = d_SB4H[:, :, :3].unbind(0), d_SB4H[:, :, 3].unbind(0)
        for s in range(len(d_SBG) - 1, -1, -1):
            dh_BH = dh_BH + dy_SBH[s]
            dc_BH = torch.addcmul(dc_BH, dh_BH, to_cell[s])
            torch.mul(dc_BH.unsqueeze(1), by_cell[s], out=d_cell[s])
            torch.mul(dh_BH, by_hidden[s], out=d_hidden[s])
            dc_BH = dc_BH * f[s]
            dh_BH = d_SBG[s] @ weight_GH
        d_weight_GH = d_SBG.flatten(0, 1).t() @ y[:-1].flatten(0, 1)
        return d_SBG, d_weight_GH, dh_BH, dc_BH

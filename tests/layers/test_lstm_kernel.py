"""The LSTM layer of compiled operations is torch's, to rounding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asrlib.layers import lstm_kernel
from asrlib.layers.compiled_ops import kernels_work
from asrlib.layers.lstm_kernel import FastLstm


def torch_lstm(lstm, x_SBD, h_BH, c_BH):
    y_SBH, (h_1BH, c_1BH) = nn.LSTM.forward(lstm, x_SBD, (h_BH[None], c_BH[None]))
    return y_SBH, h_1BH[0], c_1BH[0]


def run_lstm(lstm, x_SBD, h_BH, c_BH):
    y_SBH, (h_1BH, c_1BH) = lstm(x_SBD, (h_BH[None], c_BH[None]))
    return y_SBH, h_1BH[0], c_1BH[0]


sizes = {
    "batch": st.integers(1, 4),
    "inputs": st.integers(1, 40),
    "units": st.integers(1, 40),
    "seed": st.integers(0, 999),
}


@given(frames=st.integers(1, 12), **sizes)
@settings(deadline=None, max_examples=60)
def test_outputs_and_gradients_are_those_of_torch(frames, batch, inputs, units, seed):
    torch.manual_seed(seed)
    lstm = FastLstm(inputs, units)
    states = [torch.randn(batch, units, requires_grad=True) for _ in range(2)]
    x_BSD = torch.randn(batch, frames, inputs, requires_grad=True)
    results = []
    assert kernels_work()
    # Single outputs too: of the others comes no gradient.
    for wanted in ((0, 1, 2), (0,), (1,), (2,)):
        for layer in (run_lstm, torch_lstm):
            outputs = layer(lstm, x_BSD.transpose(0, 1), *states)
            torch.manual_seed(seed)
            loss = sum((torch.randn_like(outputs[i]) * outputs[i]).sum() for i in wanted)
            gradients = torch.autograd.grad(loss, [x_BSD, *states, *lstm.parameters()])
            results.append((*outputs, *gradients))
        ours, theirs = results[-2:]
        for mine, its in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)


@given(frames=st.integers(0, 12), loud=st.sampled_from([0.1, 3.0, 1e3, 1e8]), **sizes)
@settings(deadline=None, max_examples=60)
@torch.no_grad()
def test_any_loudness_and_no_frames_at_all(frames, loud, batch, inputs, units, seed):
    torch.manual_seed(seed)
    lstm = FastLstm(inputs, units)
    x_SBD = loud * torch.randn(frames, batch, inputs)
    states = [torch.randn(batch, units), loud * torch.randn(batch, units)]
    before = [state.clone() for state in states]
    found = run_lstm(lstm, x_SBD, *states)
    nothing = x_SBD.new_empty(0, batch, units)
    wanted = torch_lstm(lstm, x_SBD, *states) if frames else (nothing, *states)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, loud))
    assert all(map(torch.equal, states, before))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_compiled_operations_torchs_layer_runs(monkeypatch, dtype):
    lstm, x_SBD = FastLstm(3, 5).to(dtype), torch.randn(9, 2, 3, dtype=dtype)
    zeros_BH = torch.zeros(2, 5, dtype=dtype)
    wanted = torch_lstm(lstm, x_SBD, zeros_BH, zeros_BH)
    if dtype == torch.float32:  # they know no other
        monkeypatch.setattr(lstm_kernel, "kernels_work", lambda: False)
    for ours, theirs in zip(run_lstm(lstm, x_SBD, zeros_BH, zeros_BH), wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_states_and_their_gradients_carry_over():
    """Two pieces are one whole, in the outputs and in the gradient."""
    torch.manual_seed(2)
    lstm, x_SBD = FastLstm(3, 5), torch.randn(9, 2, 3)
    zeros_BH = torch.zeros(2, 5)
    whole = run_lstm(lstm, x_SBD, zeros_BH, zeros_BH)
    first = run_lstm(lstm, x_SBD[:4], zeros_BH, zeros_BH)
    second = run_lstm(lstm, x_SBD[4:], *first[1:])
    torch.testing.assert_close(torch.cat([first[0], second[0]]), whole[0])
    gradients = [
        torch.autograd.grad(result[2].sum(), list(lstm.parameters())) for result in (whole, second)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)

"""The LSTM layer with its own gradient is torch's, to rounding."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asrlib.encoders import recurrence
from asrlib.encoders.kernels import kernels_work
from asrlib.encoders.recurrence import run_lstm


def torch_lstm(lstm, x_SBD, h_BH, c_BH):
    y_SBH, (h_1BH, c_1BH) = lstm(x_SBD, (h_BH[None], c_BH[None]))
    return y_SBH, h_1BH[0], c_1BH[0]


@given(
    frames=st.integers(1, 12),
    batch=st.integers(1, 4),
    inputs=st.integers(1, 6),
    units=st.integers(1, 6),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=50)
def test_outputs_and_gradients_are_those_of_torch(frames, batch, inputs, units, seed):
    torch.manual_seed(seed)
    lstm = nn.LSTM(inputs, units).double()
    states = [torch.randn(batch, units, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    x_SBD = torch.randn(frames, batch, inputs, dtype=torch.float64, requires_grad=True)
    results = []
    for layer in (run_lstm, torch_lstm):
        outputs = layer(lstm, x_SBD, *states)
        torch.manual_seed(seed)
        loss = sum((torch.randn_like(out) * out).sum() for out in outputs)
        results.append((outputs, torch.autograd.grad(loss, [x_SBD, *states, *lstm.parameters()])))
    (ours, our_gradients), (theirs, their_gradients) = results
    for mine, its in zip((*ours, *our_gradients), (*theirs, *their_gradients), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-12)


@given(
    frames=st.integers(0, 12),
    batch=st.integers(1, 4),
    inputs=st.integers(1, 40),
    units=st.integers(1, 40),
    loud=st.sampled_from([0.1, 3.0, 1e3, 1e8]),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=100)
@torch.no_grad()
def test_the_compiled_layer_is_torchs(frames, batch, inputs, units, loud, seed):
    torch.manual_seed(seed)
    lstm = nn.LSTM(inputs, units)
    # As in the encoders, batch first in memory.
    x_SBD = loud * torch.randn(batch, frames, inputs).transpose(0, 1)
    states = [torch.randn(batch, units), loud * torch.randn(batch, units)]
    before = [state.clone() for state in states]
    found = run_lstm(lstm, x_SBD, *states)
    assert kernels_work()
    wanted = torch_lstm(lstm, x_SBD, *states) if frames else (x_SBD.new_empty(0, batch, units),)
    for ours, theirs in zip(found, (*wanted, *states)[:3], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert all(map(torch.equal, states, before))


@torch.no_grad()
def test_without_compiled_operations_torchs_layer_runs(monkeypatch):
    lstm, x_SBD, zeros_BH = nn.LSTM(3, 5), torch.randn(9, 2, 3), torch.zeros(2, 5)
    compiled = run_lstm(lstm, x_SBD, zeros_BH, zeros_BH)
    monkeypatch.setattr(recurrence, "kernels_work", lambda: False)
    for ours, theirs in zip(run_lstm(lstm, x_SBD, zeros_BH, zeros_BH), compiled, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_gradient_agrees_with_finite_differences():
    torch.manual_seed(1)
    lstm = nn.LSTM(3, 2).double()
    inputs = [torch.randn(4, 2, 3), torch.randn(2, 2), torch.randn(2, 2)]
    inputs = [x.double().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(lambda *x: run_lstm(lstm, *x), inputs)


def test_states_and_their_gradients_carry_over():
    """Two pieces are one whole, in the outputs and in the gradient."""
    torch.manual_seed(2)
    lstm, x_SBD = nn.LSTM(3, 5), torch.randn(9, 2, 3)
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

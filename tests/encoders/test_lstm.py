"""The LSTM stack against torch's own multi-layer LSTM."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.config import from_dict
from asrlib.encoders import LstmConfig, LstmStackConfig
from asrlib.encoders.lstm import LstmStack
from asrlib.errors import ConfigError


@torch.no_grad()
def test_a_plain_stack_is_torchs_lstm_and_a_linear():
    stack = LstmStack(6, LstmStackConfig(layers=3, hidden_dim=5, layer_norm=False), 4).eval()
    reference = torch.nn.LSTM(6, 5, num_layers=3, batch_first=True)
    for i, layer in enumerate(stack.layers):
        for name, value in layer.lstm.named_parameters():
            getattr(reference, name.replace("_l0", f"_l{i}")).copy_(value)
    x_BSD = torch.randn(2, 9, 6)
    y_BSD, state = stack(x_BSD, stack.initial_state(2))
    y_BSH, (h_LBH, c_LBH) = reference(x_BSD)
    torch.testing.assert_close(y_BSD, stack.output(y_BSH))
    torch.testing.assert_close(state.h_BLH, h_LBH.transpose(0, 1))
    torch.testing.assert_close(state.c_BLH, c_LBH.transpose(0, 1))


@settings(deadline=None, max_examples=25)
@given(
    frames=st.integers(1, 9),
    batch=st.integers(1, 3),
    inputs=st.integers(1, 6),
    layers=st.integers(1, 3),
    norm=st.booleans(),
    residual=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_stack_in_inference_gives_what_its_layers_give(
    frames, batch, inputs, layers, norm, residual, seed
):
    """In one operation there, layer by layer where gradients are wanted."""
    torch.manual_seed(seed)
    config = LstmStackConfig(layers=layers, hidden_dim=5, layer_norm=norm, residual=residual)
    stack = LstmStack(inputs, config, 3).eval()
    x_BSD, states = torch.randn(batch, frames, inputs), [stack.initial_state(batch)] * 2
    for _ in range(2):  # the second time with a memory
        wanted_BSD, states[0] = stack(x_BSD, states[0])
        with torch.no_grad():
            y_BSD, states[1] = stack(x_BSD, states[1])
        assert wanted_BSD.requires_grad
        assert not y_BSD.requires_grad
        torch.testing.assert_close(y_BSD, wanted_BSD.detach(), atol=1e-6, rtol=1e-5)
        for name in ("h_BLH", "c_BLH"):
            after, wanted = (getattr(state, name) for state in states[::-1])
            torch.testing.assert_close(after, wanted.detach(), atol=1e-6, rtol=1e-5)


def test_residuals_join_where_the_sizes_agree():
    config = LstmStackConfig(layers=3, hidden_dim=8, projection_dim=6, residual=True)
    assert [layer.residual for layer in LstmStack(4, config, 2).layers] == [False, True, True]


def test_an_encoder_follows_its_parameters_type():
    encoder = LstmConfig(output_dim=3).build(4).double().eval()
    h_BSD, _ = encoder(torch.randn(1, 8, 4, dtype=torch.float64), torch.tensor([8]))
    assert h_BSD.dtype == torch.float64


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"subsampling": 0}, "subsampling"),
        ({"lstm": {"layers": 0}}, "lstm.layers"),
        ({"lstm": {"dropout": 1.5}}, "lstm.dropout"),
        ({"output_dim": 2.5}, "output_dim"),
        ({"hidden": 3}, "unknown key hidden"),
    ],
)
def test_a_wrong_value_is_named(values, match):
    with pytest.raises(ConfigError, match=match):
        from_dict(LstmConfig, values)


@given(bias=st.floats(-2.0, 2.0, width=32))
@settings(deadline=None, max_examples=10)
def test_forget_bias_moves_the_forget_gates_alone(bias):
    stacks = []
    for value in (0.0, bias):
        torch.manual_seed(1)
        stacks.append(LstmStack(3, LstmStackConfig(layers=2, hidden_dim=4, forget_bias=value), 5))
    plain, moved = (stack.state_dict() for stack in stacks)
    for name, weight in plain.items():
        expected = weight.clone()
        if name.endswith("bias_ih_l0"):  # input, forget, cell, output
            expected[4:8] += bias
        assert torch.equal(moved[name], expected), name

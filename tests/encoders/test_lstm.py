"""The LSTM stack against torch's own multi-layer LSTM."""

from __future__ import annotations

import pytest
import torch

from asrlib.config import from_dict
from asrlib.encoders import LstmConfig, LstmStackConfig, build_encoder
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


def test_residuals_join_where_the_sizes_agree():
    config = LstmStackConfig(layers=3, hidden_dim=8, projection_dim=6, residual=True)
    assert [layer.residual for layer in LstmStack(4, config, 2).layers] == [False, True, True]


def test_an_encoder_follows_its_parameters_type():
    encoder = build_encoder(LstmConfig(output_dim=3), 4).double().eval()
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

"""The ConvRNN-T's own parts: switches, sizes."""

from __future__ import annotations

import pytest
import torch

from asrlib.config import from_dict
from asrlib.encoders import ConvRnntConfig
from asrlib.encoders.conv_rnnt import LocalCnn
from asrlib.errors import ConfigError


def test_grouping_shrinks_only_the_dilated_convolutions():
    dense, grouped = (ConvRnntConfig(dim=16, grouped=grouped).build(8) for grouped in (False, True))
    sizes = [{n: p.numel() for n, p in e.named_parameters()} for e in (dense, grouped)]
    changed = {n for n in sizes[0] if sizes[0][n] != sizes[1][n]}
    assert changed == {f"blocks.{i}.conv.weight" for i in range(6)}
    assert all(sizes[0][n] == 16 * sizes[1][n] for n in changed)


def test_the_blocks_dilate_by_powers_of_two():
    encoder = ConvRnntConfig(dim=4, global_blocks=5).build(8)
    assert [block.conv.dilation[0] for block in encoder.blocks] == [1, 2, 4, 8, 16]


@torch.no_grad()
def test_the_local_cnn_convolves_over_the_chosen_image():
    x_BSF = torch.randn(2, 5, 12)  # three frames of four bins in each
    images = {"frequency": x_BSF.unsqueeze(1), "channels": x_BSF.view(2, 5, 3, 4).transpose(1, 2)}
    for stacking, x_BCSF in images.items():
        config = ConvRnntConfig(
            subsampling=3, dim=6, local_stacking=stacking, local_channels=(2, 3), local_kernel=3
        )
        cnn = LocalCnn(4, config)
        for conv in cnn.convs:
            padded = torch.nn.functional.pad(x_BCSF, (1, 1, 2, 0))
            x_BCSF = torch.nn.functional.conv2d(padded, conv.weight, conv.bias).relu()
        expected = cnn.output(x_BCSF.permute(0, 2, 3, 1).flatten(2))
        y_BSD, _ = cnn(x_BSF, cnn.initial_state(2, x_BSF.device))
        torch.testing.assert_close(y_BSD, expected)


@torch.no_grad()
@pytest.mark.parametrize("stacking", ["frequency", "channels"])
def test_the_local_cnn_starts_with_a_signal_that_can_be_heard(stacking):
    torch.manual_seed(0)
    cnn = LocalCnn(80, ConvRnntConfig(local_stacking=stacking))
    x_BSF = torch.randn(2, 50, 320)
    y_BSD, _ = cnn(x_BSF, cnn.initial_state(2, x_BSF.device))
    assert 0.3 < float((y_BSD - y_BSD.mean(dim=(0, 1))).std()) < 3.0


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"use_local": False, "use_global": False}, "use_local and encoder.use_global"),
        ({"local_channels": []}, "local_channels"),
        ({"local_kernel": 4}, "local_kernel: 4 is even"),
        ({"local_channels": [4, 0]}, "local_channels"),
        ({"global_blocks": 0}, "global_blocks"),
        ({"dropout": 1.0}, "dropout"),
        ({"grouping": True}, "unknown key grouping"),
        ({"lstm": {"hidden_dim": -1}}, "lstm.hidden_dim"),
    ],
)
def test_a_wrong_value_is_named(values, match):
    with pytest.raises(ConfigError, match=match):
        from_dict(ConvRnntConfig, values)

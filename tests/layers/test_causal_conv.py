"""The convolution for right context: what an output depends on, and what it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from asrlib.layers.causal_conv import BinConv


@torch.no_grad()
def test_an_output_depends_on_five_frames_of_its_own_bin():
    conv = BinConv(stacked=4, num_bins=3, kernel=5)
    x_BSF = torch.randn(1, 12, 12)
    left_BPF = conv.initial_state(1, torch.device("cpu"))
    before_BSF, _ = conv(x_BSF, left_BPF)
    for frame in range(4):
        changed_BSF = x_BSF.clone()
        changed_BSF[:, 3, 3 * frame + 1] += 1.0  # bin 1 of the frame-th frame in the stack
        changed = conv(changed_BSF, left_BPF)[0].unflatten(-1, (4, 3)) != before_BSF.unflatten(
            -1, (4, 3)
        )
        assert changed[:, 3:8, :, 1].all()
        assert changed.sum() == 5 * 4


@torch.no_grad()
def test_an_output_is_the_sum_that_it_is_defined_as():
    conv = BinConv(stacked=2, num_bins=3, kernel=5)
    torch.nn.init.normal_(conv.conv.bias)
    x_BSF = torch.randn(2, 9, 6)
    y_BSF, left_BPF = conv(x_BSF, conv.initial_state(2, torch.device("cpu")))
    weight_BOIK = conv.conv.weight.unflatten(0, (3, 2))  # by bin, output and input
    x_BSIF = F.pad(x_BSF, (0, 0, 4, 0)).unflatten(-1, (2, 3))
    for s in range(9):
        window_BKIF = x_BSIF[:, s : s + 5]
        sum_BOF = torch.einsum("bkif,foik->bof", window_BKIF, weight_BOIK)
        expected_BOF = F.silu(sum_BOF + conv.conv.bias.unflatten(0, (3, 2)).t())
        torch.testing.assert_close(y_BSF[:, s], expected_BOF.flatten(1))
    assert torch.equal(left_BPF, x_BSF[:, -4:])


@torch.no_grad()
def test_a_signal_keeps_its_size():
    torch.manual_seed(1)
    conv = BinConv(stacked=4, num_bins=80, kernel=5)
    y_BSF, _ = conv(torch.randn(4, 200, 320), conv.initial_state(4, torch.device("cpu")))
    assert 0.5 < y_BSF.square().mean().sqrt() < 2.0

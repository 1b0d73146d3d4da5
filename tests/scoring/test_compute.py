import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asrlib.encoders import ConvRnntConfig, LstmConfig, build_encoder
from asrlib.scoring.compute import count_flops, flops_per_second
from asrlib.transducer.joiner import Joiner


def profiled(run) -> float:
    """FLOPs of matrix products and convolutions, as torch's own profiler counts them."""
    with torch.no_grad(), torch.profiler.profile(with_flops=True, record_shapes=True) as prof:
        run()
    kinds = ("aten::addmm", "aten::mm", "aten::bmm", "aten::conv2d")
    return sum(e.flops for e in prof.key_averages() if e.key in kinds and e.flops)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_linear_by_hand_and_by_profiler(frames, width, hidden, out):
    model = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))
    x_TF = torch.randn(frames, width)
    spent = count_flops(model, lambda: model(x_TF))
    assert spent == 2 * frames * (width * hidden + hidden * out)
    assert spent == profiled(lambda: model(x_TF))


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_agrees_with_profiler(stride):
    layer = nn.Conv2d(4, 6, (5, 3), stride=stride)
    x_BCTF = torch.randn(2, 4, 20, 11)
    assert count_flops(layer, lambda: layer(x_BCTF)) == profiled(lambda: layer(x_BCTF))


def test_groups_divide_the_cost_of_a_convolution():
    x_BDT = torch.randn(2, 8, 20)
    whole, grouped = (nn.Conv1d(8, 8, 3, dilation=2, groups=g) for g in (1, 8))
    spent = count_flops(whole, lambda: whole(x_BDT))
    assert spent == 2 * 2 * 16 * 8 * 8 * 3
    assert count_flops(grouped, lambda: grouped(x_BDT)) == spent / 8


@pytest.mark.parametrize("proj", [0, 3])
def test_lstm_by_formula(proj):
    frames, width, hidden = 7, 5, 6
    out = proj or hidden
    layer = nn.LSTM(width, hidden, num_layers=2, proj_size=proj, batch_first=True)
    x_BTF = torch.randn(2, frames, width)
    a_frame = 4 * hidden * (width + out) + 4 * hidden * (out + out) + 2 * hidden * proj
    assert count_flops(layer, lambda: layer(x_BTF)) == 2 * 2 * frames * a_frame


def test_counting_leaves_no_trace():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    count_flops(model, lambda: model(torch.randn(4, 2)))
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


class TinyEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 * 8, 10)

    def forward(self, x_BTF, lengths_B):
        x_BTF = x_BTF[:, : x_BTF.shape[1] // 3 * 3]
        return self.linear(x_BTF.reshape(len(x_BTF), -1, 24)), lengths_B // 3


def tiny_transducer(encoder=None, width=10):
    model = nn.Module()
    model.encoder = encoder or TinyEncoder()
    model.joiner = Joiner(width, 12, 6, 20)
    return model


def test_per_second_is_frames_times_a_frame():
    cost = flops_per_second(tiny_transducer(), num_bins=8, seconds=3.0)
    assert cost["encoder"] == 2 * 100 / 3 * 24 * 10
    assert cost["joiner"] == pytest.approx(2 * 100 / 3 * (10 * 6 + 6 * 20))
    assert cost["total"] == pytest.approx(cost["encoder"] + cost["joiner"])


def test_per_second_does_not_depend_on_the_length():
    model = tiny_transducer()
    short, long = (flops_per_second(model, 8, seconds=s)["total"] for s in (3.0, 30.0))
    assert short == pytest.approx(long)


def conv1d_flops(module, run) -> float:
    """FLOPs of the 1-D convolutions, which the profiler does not count."""
    spent = []

    def hook(layer, _, output):
        spent.append(2 * output.numel() * layer.weight[0].numel())

    layers = [m for m in module.modules() if isinstance(m, nn.Conv1d)]
    handles = [m.register_forward_hook(hook) for m in layers]
    run()
    for handle in handles:
        handle.remove()
    return sum(spent)


@pytest.mark.parametrize("name", ["lstm", "conv_rnnt"])
def test_nothing_that_multiplies_in_the_encoders_escapes_the_hooks(name):
    configs = {"lstm": LstmConfig, "conv_rnnt": ConvRnntConfig}
    encoder = build_encoder(configs[name](), 80).eval()
    x_BTF, lengths_B = torch.randn(1, 40, 80), torch.tensor([40])

    def run():
        encoder(x_BTF, lengths_B)

    assert count_flops(encoder, run) == profiled(run) + conv1d_flops(encoder, run)

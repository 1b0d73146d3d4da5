from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asrlib.encoders import (
    AmortizedConfig,
    ConformerConfig,
    ContextNetConfig,
    ConvRnntConfig,
    LstmConfig,
)
from asrlib.encoders.toggles import ArbitratorConfig
from asrlib.layers import lstm_kernel
from asrlib.transducer.flops import count_flops, flops_per_second
from asrlib.transducer.joiner import Joiner
from asrlib.transducer.model import Transducer, TransducerConfig
from asrlib.transducer.predictor import StatelessConfig


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


def test_a_condition_costs_nothing():
    """It is a bias: it does not grow with the frames, and a stream computes it per step."""
    x_BTF, lengths_B = torch.randn(2, 20, 80), torch.tensor([20, 20])
    plain, told = (LstmConfig(condition=n).build(80) for n in (0, 2))
    expected = count_flops(plain, lambda: plain(x_BTF, lengths_B))
    assert count_flops(told, lambda: told(x_BTF, lengths_B, torch.eye(2))) == expected


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


CONFIGS = {
    "lstm": LstmConfig(),
    "conv_rnnt": ConvRnntConfig(),
    "contextnet": ContextNetConfig(channels=(32,) * 4, layers=2),
    "conformer": ConformerConfig(layers=2, left_context=8),
    "amortized": AmortizedConfig(layers=4, left_context=8),
}


@pytest.mark.parametrize("name", list(CONFIGS))
@torch.no_grad()
def test_nothing_that_multiplies_in_a_streaming_encoder_escapes_the_count(name, monkeypatch):
    """Of pieces of one frame, once a stream's past is full: masking throws nothing away."""
    encoder = CONFIGS[name].build(80).eval()
    encoder.skip = False
    state = encoder.initial_state(1)
    for _ in range(10):
        _, state = encoder.step(torch.randn(1, 4, 80), state)

    def run():
        encoder.step(torch.randn(1, 4, 80), state)

    blocks = list(encoder.blocks) if name == "amortized" else []
    counted = count_flops(encoder, run, blocks)
    if blocks:
        counted += 2 * float(encoder.full_multiplications(1, state.own.heard_B1).sum())
    # The profiler sees neither into compiled operations nor into the LSTM of oneDNN.
    monkeypatch.setattr(lstm_kernel, "kernels_work", lambda: False)
    with torch.backends.mkldnn.flags(enabled=False):
        # It sees an amortized encoder's own counting too: a ten-thousandth.
        wanted = profiled(run) + conv1d_flops(encoder, run)
    assert counted == pytest.approx(wanted, rel=1e-4 if blocks else 0, abs=0)


@torch.no_grad()
def test_attention_is_counted_for_what_was_heard():
    """In pieces or whole alike; a first frame sees itself alone, in three products."""
    config = CONFIGS["conformer"]
    encoder = config.build(80).eval()
    x_BTF, state, counts = torch.randn(2, 60, 80), [encoder.initial_state(2)], []
    for piece_BTF in x_BTF.split([4, 12, 40, 4], dim=1):
        counts.append(
            count_flops(encoder, lambda x=piece_BTF: state.append(encoder.step(x, state.pop())[1]))
        )
    assert sum(counts) == count_flops(encoder, lambda: encoder(x_BTF, torch.tensor([60, 60])))
    unseen = 2 * config.left_context * config.dim * config.layers  # of two utterances
    assert counts[-1] - counts[0] == 2 * 3 * unseen


@torch.no_grad()
def test_the_loss_and_decoding_count_the_same_share_of_work():
    """Multiplications are summed before they are divided, over utterances of any lengths."""
    config = replace(CONFIGS["amortized"], arbitrator=ArbitratorConfig(kind="random", keep=0.5))
    encoder = config.build(80).eval()
    x_BTF, lengths_B = torch.randn(3, 120, 80), torch.tensor([120, 60, 9])
    _, frames_B, work = encoder(x_BTF, lengths_B, with_cost=True)
    spent_B, full_B = work.of_utterances(frames_B)
    made = [0.0, 0.0]
    for x_TF, length in zip(x_BTF, lengths_B, strict=True):
        _, state = encoder.step(x_TF[None, : length // 4 * 4], encoder.initial_state(1))
        made = [a + b for a, b in zip(made, encoder.work(state), strict=True)]
    assert float(full_B.sum()) == made[1]
    assert float(spent_B.sum() / full_B.sum()) == pytest.approx(made[0] / made[1], rel=1e-6)
    assert 0.2 < made[0] / made[1] < 0.8


@torch.no_grad()
def test_the_cost_in_the_loss_is_the_share_of_the_whole_batch(monkeypatch):
    arbitrator = ArbitratorConfig(dim=8, keep=0.5)
    encoder = replace(CONFIGS["amortized"], arbitrator=arbitrator)
    predictor = StatelessConfig(output_dim=16)
    config = TransducerConfig(encoder=encoder, predictor=predictor, joiner_dim=16)
    model = Transducer(config, num_bins=80, vocab_size=10).eval()
    x_BTF, tokens_BU = torch.randn(3, 120, 80), torch.randint(1, 10, (3, 4))
    lengths = torch.tensor([120, 60, 24]), torch.tensor([4, 3, 2])
    total = {}
    for weight in (0.0, 2.0):
        monkeypatch.setattr(model.encoder, "cost_weight", lambda w=weight: w)
        loss = model.loss(x_BTF, lengths[0], tokens_BU, lengths[1], step=0)
        total[weight] = float(loss.total_B.sum())
    share = float(loss.spent_B.sum() / loss.full_B.sum())
    assert 0 < share < 1
    assert total[2.0] - total[0.0] == pytest.approx(
        2 * share * float(loss.frames_B.sum()), rel=1e-4
    )


@torch.no_grad()
def test_per_second_of_an_amortized_encoder_is_of_everything_on():
    config = replace(CONFIGS["amortized"], arbitrator=ArbitratorConfig(kind="random", keep=0.1))
    encoder = config.build(80).eval()
    model = tiny_transducer(encoder, width=encoder.output_dim)
    cost = flops_per_second(model, 80, seconds=4.0)
    _, state = encoder.step(torch.randn(1, 400, 80), encoder.initial_state(1))
    spent, full = encoder.work(state)
    assert spent < 0.3 * full
    assert cost["toggled"] == pytest.approx(2 * full / 4)
    assert cost["toggled"] < cost["encoder"] == pytest.approx(cost["total"] - cost["joiner"])


@pytest.mark.parametrize("count", [1, 3])
def test_right_context_costs_its_multiplications(count):
    """Four outputs per bin, each of four inputs at five places, in 25 frames per second."""
    flops = []
    for right_context in (0, count):
        encoder = LstmConfig(output_dim=8, right_context=right_context)
        config = TransducerConfig(encoder=encoder, predictor=StatelessConfig(output_dim=8))
        flops.append(flops_per_second(Transducer(config, 80, 5), 80)["encoder"])
    assert flops[1] - flops[0] == pytest.approx(count * 25 * 2 * 80 * 4 * 4 * 5)

"""Schedule, parameter groups, averages."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from asrlib.layers.growing_depth import GrowingDepth
from asrlib.layers.norm import MaskedBatchNorm
from asrlib.layers.progress import is_progress
from asrlib.training.config import TrainConfig
from asrlib.training.optim import Ema, WindowMean, average_states, build_optimizer, lr_at

CONFIG = TrainConfig(peak_lr=2e-3, warmup_steps=10, final_lr_ratio=0.1)


def test_schedule_has_its_stated_points():
    assert lr_at(0, 110, CONFIG) == pytest.approx(2e-4)
    assert lr_at(9, 110, CONFIG) == pytest.approx(2e-3)
    assert lr_at(10, 110, CONFIG) == pytest.approx(2e-3)
    assert lr_at(60, 110, CONFIG) == pytest.approx(2e-3 * (0.1 + 0.9 / 2))
    assert lr_at(110, 110, CONFIG) == pytest.approx(2e-4)


@given(st.integers(0, 400), st.integers(1, 300), st.integers(0, 50))
def test_schedule_rises_then_falls_and_stays_positive(step, total, warmup):
    config = TrainConfig(warmup_steps=warmup, final_lr_ratio=0.1)
    here, after = lr_at(step, total, config), lr_at(step + 1, total, config)
    assert 0 < here <= config.peak_lr
    assert after >= here if step + 1 < warmup else after <= here
    if step >= max(total, warmup):
        assert here == pytest.approx(0.1 * config.peak_lr) or total <= warmup


def test_constant_schedule_stays():
    config = TrainConfig(warmup_steps=5, schedule="constant")
    assert {lr_at(s, 20, config) for s in range(5, 40)} == {config.peak_lr}


def test_vectors_are_not_decayed():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.LSTM(4, 2), nn.Embedding(5, 2))
    decayed, free = build_optimizer(model, TrainConfig(weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in free["params"]} == {1}
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_average_is_the_mean_in_double_precision():
    torch.manual_seed(1)
    states = [{"w": torch.randn(50) * 10.0**k, "n": torch.tensor(k)} for k in range(5)]
    mean = average_states(iter(states))
    exact = torch.stack([s["w"].double() for s in states]).mean(0).float()
    assert torch.equal(mean["w"], exact)
    assert mean["n"] == 4


def test_average_of_one_is_itself():
    state = {"w": torch.randn(7)}
    assert torch.equal(average_states([state])["w"], state["w"])


def test_ema_follows_its_recursion():
    model = nn.BatchNorm1d(2)
    ema = Ema(model, decay=0.2)
    expected = model.running_mean.clone()
    for n in range(6):
        model.running_mean.fill_(float(n))
        model.num_batches_tracked.fill_(n)
        ema.update(model)
        decay = min(0.2, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert torch.allclose(ema.state["running_mean"], expected)
    assert ema.state["num_batches_tracked"] == 5
    assert model.running_mean[0] == 5.0  # the model itself is left alone


@pytest.mark.parametrize("start", [0.0, math.inf])
def test_ema_takes_over_how_far_the_training_is(start):
    """A mean of depths belongs to no weights, and infinite counts, which go on, have none."""
    model = nn.ModuleDict({"depth": GrowingDepth([True], 0.5), "norm": MaskedBatchNorm(2)})
    progress = [name for name in model.state_dict() if is_progress(name)]
    assert len(progress) == 2
    for name in progress:
        model.state_dict()[name].fill_(start)
    ema = Ema(model, decay=0.9)
    for value in (start, 1.0 if start == 0.0 else start):
        for name in progress:
            model.state_dict()[name].fill_(value)
        ema.update(model)
    for name in progress:
        assert torch.equal(ema.state[name], model.state_dict()[name])


def test_window_mean_is_the_mean_over_the_last_steps():
    torch.manual_seed(1)
    model, window, held = nn.BatchNorm1d(3), WindowMean(4), []
    for step in range(10):
        for value in model.state_dict().values():
            value.copy_(torch.randn(3) if value.is_floating_point() else torch.tensor(step))
        if step != 7:  # a skipped step
            window.update(model, step, total_steps=10)
            held += [{k: v.clone() for k, v in model.state_dict().items()}] if step >= 6 else []
        if step < 6:
            assert not window.updates
    assert window.updates == len(held) == 3
    for name, value in average_states(held).items():
        torch.testing.assert_close(window.state[name], value)


def test_window_mean_begins_anew_while_the_depth_grows():
    model = nn.ModuleDict({"depth": GrowingDepth([True], 0.5), "linear": nn.Linear(1, 1)})
    shares, weight = model.state_dict()["depth.shares_Z"], model["linear"].weight.data
    window = WindowMean(10)
    for step, (share, value) in enumerate([(0.2, 1.0), (0.7, 2.0), (1.0, 3.0), (1.0, 5.0)]):
        shares.fill_(share)
        weight.fill_(value)
        window.update(model, step, total_steps=4)
    assert window.updates == 2
    assert window.state["linear.weight"] == 4.0


def test_two_averages_of_the_same_updates_are_refused():
    with pytest.raises(ValueError, match="average_window and ema_decay"):
        TrainConfig(average_window=10, ema_decay=0.9)

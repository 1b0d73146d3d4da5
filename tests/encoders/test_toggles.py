"""Toggles in training: soft, hard with the gradient of soft ones, noisy; and their schedule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from asrlib.encoders.amortized import AmortizedSchedule
from asrlib.encoders.toggles import Relaxation, relax


def test_the_phases_of_training():
    schedule = AmortizedSchedule(
        cost_start=0.1,
        span=0.2,
        weight=0.1,
        final_weight=0.5,
        noise=0.8,
        final_noise=0.2,
        final_temperature=0.01,
    )
    assert schedule.weight_at(0.09) == 0.0
    assert schedule.weight_at(0.1) == pytest.approx(0.1)
    assert schedule.weight_at(0.2) == pytest.approx(0.3)
    assert schedule.weight_at(0.99) == pytest.approx(0.5)
    assert schedule.relaxation_at(0.09) == Relaxation(0.0, 1.0, straight_through=True)
    assert schedule.relaxation_at(0.1) == Relaxation(0.8, 1.0, straight_through=True)
    soft = replace(schedule, straight_through=False)
    assert soft.relaxation_at(0.1) == Relaxation(0.8, 1.0, straight_through=False)
    assert schedule.relaxation_at(0.2).noise_scale == pytest.approx(0.5)
    assert schedule.relaxation_at(0.2).temperature == pytest.approx(0.505)
    assert schedule.relaxation_at(0.9).noise_scale == pytest.approx(0.2)
    assert schedule.relaxation_at(0.9).temperature == pytest.approx(0.01)


def test_toggles_harden_as_the_temperature_falls():
    logits = torch.tensor([-2.0, -0.5, 0.5, 2.0])
    torch.testing.assert_close(relax(logits, Relaxation()), logits.sigmoid())
    hard = relax(logits, None)
    assert hard.tolist() == [0.0, 0.0, 1.0, 1.0]
    torch.testing.assert_close(relax(logits, Relaxation(0.0, 1e-3)), hard)
    torch.manual_seed(0)
    noisy = torch.stack([relax(logits, Relaxation(1.0, 1e-3)) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(noisy, logits.sigmoid(), atol=0.03, rtol=0)


def test_straight_through_toggles_are_hard_with_the_gradient_of_soft_ones():
    logits = [torch.linspace(-3, 3, 8).requires_grad_() for _ in range(2)]
    toggles = []
    for logits_N, straight_through in zip(logits, (True, False), strict=True):
        torch.manual_seed(0)
        toggles.append(relax(logits_N, Relaxation(1.0, 0.5, straight_through)))
        toggles[-1].sum().backward()
    torch.testing.assert_close(toggles[0], (toggles[1] > 0.5).float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(logits[0].grad, logits[1].grad)

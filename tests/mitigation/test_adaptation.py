"""Laws of the adaptation of a trained transducer, each by training a tiny one."""

from __future__ import annotations

import pytest
import torch
from cohort_fakes import START, adapt, weights, write_cohort_recipe

METHOD = "mitigation.adaptation.method="
STRENGTH = "mitigation.adaptation.strength="


@pytest.fixture
def recipe(tmp_path):
    return write_cohort_recipe(tmp_path / "egs")


def moved(recipe, path) -> dict[str, float]:
    """The largest change of each weight, as a share of its tensor's largest value."""
    start, end = weights(recipe / START), weights(path)
    return {
        name: float((end[name] - w).abs().max() / w.abs().max().clamp(min=1e-12))
        for name, w in start.items()
    }


def test_strength_0_is_fine_tuning_bit_for_bit(recipe):
    plain = weights(adapt(recipe, "plain", f"{METHOD}finetune"))
    for method in ("l2", "ewc"):
        free = weights(adapt(recipe, method, METHOD + method, f"{STRENGTH}0"))
        assert all(torch.equal(free[name], plain[name]) for name in plain)
    assert max(moved(recipe, recipe / "exp/plain/final.pt").values()) > 1e-4


def test_a_great_strength_holds_every_weight(recipe):
    held = moved(recipe, adapt(recipe, "held", f"{METHOD}l2", f"{STRENGTH}1e12"))
    assert max(held.values()) <= 1e-6

"""What precedes the first layer: running statistics, convolutions for right context."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from encoder_configs import CONFIGS, FRONT, NUM_BINS, make, whole

from asrlib.data.augment import SILENCE
from asrlib.encoders import (
    LstmConfig,
    flatten_state,
)


@pytest.mark.parametrize("name", [name for name in FRONT if name.endswith("-mean")])
@torch.no_grad()
def test_running_statistics_add_no_weights_and_draw_nothing(name):
    made = []
    for config in (CONFIGS[name], replace(CONFIGS[name], running_norm="none")):
        torch.manual_seed(3)
        made.append(config.build(NUM_BINS).eval())
    first, second = (encoder.state_dict() for encoder in made)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    x_BTF = torch.randn(2, 8 * made[0].subsampling, NUM_BINS)
    assert not torch.equal(whole(made[0], x_BTF), whole(made[1], x_BTF))


@pytest.mark.parametrize("name", [name for name in FRONT if name.endswith("-mean")])
@torch.no_grad()
def test_digital_silence_before_speech_leaves_the_running_statistics_alone(name):
    encoder = make(name)
    silence_BTF = torch.full((1, 6 * encoder.subsampling, NUM_BINS), SILENCE)
    _, state = encoder.step(silence_BTF, encoder.initial_state(1))
    assert all((t == 0).all() for t in flatten_state(state.front))


@pytest.mark.parametrize("count", [1, 2, 3])
@torch.no_grad()
def test_no_path_leads_around_the_convolutions_for_right_context(count):
    """Without their weights, an encoder hears nothing."""
    encoder = replace(CONFIGS["lstm-rich"], right_context=count).build(NUM_BINS).eval()
    for parameter in encoder.right_context[-1].parameters():
        parameter.zero_()
    a_BTF, b_BTF = torch.randn(2, 1, 12, NUM_BINS)
    assert torch.equal(whole(encoder, a_BTF), whole(encoder, b_BTF))


@pytest.mark.parametrize("values", [{"right_context": 4}, {"running_prior": 0.0}])
def test_a_front_that_cannot_be_is_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        LstmConfig(**values)

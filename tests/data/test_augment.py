"""Augmentation: seeded, bounded, harmless to what it does not touch."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.config import load_config
from asrlib.data.augment import (
    SILENCE,
    AugmentConfig,
    Equaliser,
    Silence,
    SpecMasks,
    VocalTractWarp,
    seeded,
)
from asrlib.data.sampler import DataConfig
from asrlib.errors import ConfigError
from asrlib.features import FbankConfig, FbankExtractor
from asrlib.text import TokensConfig


def draw():
    return random.random(), np.random.rand(), torch.rand(3).tolist()


def test_seeded_is_repeatable_and_leaves_no_trace():
    draw()
    states = random.getstate(), torch.get_rng_state()
    with seeded(7):
        first = draw()
    with seeded(7):
        assert draw() == first
    with seeded(8):
        assert draw() != first
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


@settings(deadline=None, max_examples=60)
@given(
    frames=st.integers(1, 300),
    spans=st.integers(0, 10),
    width=st.integers(1, 60),
    bands=st.integers(0, 3),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_masks_any_length_within_bounds(frames, spans, width, bands, fraction, seed):
    config = AugmentConfig(
        spec_probability=1.0,
        frame_masks=spans,
        max_frame_width=width,
        feature_masks=bands,
        max_feature_width=10,
        max_frames_fraction=fraction,
    )
    x_TF = torch.randn(frames, 80)
    before_TF = x_TF.clone()
    with seeded(seed):
        out_TF = SpecMasks(config)(x_TF)
    assert torch.equal(x_TF, before_TF)
    assert out_TF.shape == x_TF.shape
    changed_TF = out_TF != x_TF
    rows = int(changed_TF.all(dim=1).sum())
    assert rows <= fraction * frames
    columns = int(changed_TF.all(dim=0).sum())
    assert columns <= bands * 10 or rows == frames
    untouched = changed_TF.any(dim=1) & ~changed_TF.all(dim=1)
    assert bool(untouched.any()) <= (bands > 0)


def test_masks_are_masks():
    with seeded(0):
        x_TF = torch.randn(200, 80)
        out_TF = SpecMasks(AugmentConfig(spec_probability=1.0))(x_TF)
    changed_TF = out_TF != x_TF
    assert changed_TF.any()
    assert torch.allclose(out_TF[changed_TF].std(), torch.tensor(0.0), atol=0.1)


@pytest.mark.parametrize("factor", [0.8, 0.85, 1.15, 1.2])
def test_a_tone_moves_to_its_frequency_over_the_factor(factor):
    """Where a tone of f Hz peaks after the warp, one of f / factor Hz peaks without."""
    fbank = FbankConfig()
    extract, warp = FbankExtractor(fbank), VocalTractWarp(0.2, fbank)
    seconds_N = torch.arange(8000) / fbank.sample_rate
    for hz in (1000.0, 1500.0, 3000.0):
        tone, lower = (
            extract(0.1 * torch.sin(2 * torch.pi * f * seconds_N)) for f in (hz, hz / factor)
        )
        warped = warp.warp(tone, factor)
        assert abs(int(warped.mean(0).argmax()) - int(lower.mean(0).argmax())) <= 1
        assert abs(int(tone.mean(0).argmax()) - int(lower.mean(0).argmax())) >= 2


@given(width=st.floats(0, 0.5), frames=st.integers(0, 30), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_a_warp_stays_within_the_values_that_there_are(width, frames, seed):
    x_TF = torch.randn(frames, 80)
    with seeded(seed):
        out_TF = VocalTractWarp(width, FbankConfig())(x_TF)
    assert out_TF.shape == x_TF.shape
    assert (out_TF <= x_TF.amax(1, keepdim=True) + 1e-5).all() if frames else True
    assert torch.equal(VocalTractWarp(0.0, FbankConfig())(x_TF), x_TF)
    same_TF = VocalTractWarp(width, FbankConfig()).warp(x_TF, 1.0)
    torch.testing.assert_close(same_TF, x_TF, atol=1e-5, rtol=0)


@given(
    gain=st.floats(0, 20),
    equaliser=st.floats(0, 20),
    bins=st.integers(3, 80),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_an_equaliser_changes_each_bin_alike_in_every_frame(gain, equaliser, bins, seed):
    """By no more than the two amounts together; by the gain alone in every bin."""
    x_TF = torch.randn(7, bins)
    with seeded(seed):
        change_TF = Equaliser(gain, equaliser)(x_TF) - x_TF
    decibels_TF = change_TF * 10.0 / math.log(10.0)
    assert (decibels_TF - decibels_TF[0]).abs().max() < 1e-3
    assert decibels_TF.abs().max() <= gain + equaliser + 1e-3
    if equaliser == 0:
        assert (decibels_TF - decibels_TF[0, 0]).abs().max() < 1e-3
    elif bins > 10 and equaliser > 1:
        assert decibels_TF[0].std() > 0


def test_no_equaliser_leaves_energies_below_the_floor():
    quiet_TF = torch.full((5, 80), SILENCE)
    with seeded(2):
        outs = [Equaliser(10.0, 5.0)(quiet_TF) for _ in range(50)]
    assert min(out_TF.min() for out_TF in outs) == pytest.approx(SILENCE)
    assert torch.equal(Equaliser(0.0, 0.0)(quiet_TF), quiet_TF)


@given(frames=st.integers(1, 30), seconds=st.floats(0.001, 0.2), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_silence_surrounds_an_utterance_and_leaves_it_as_it_is(frames, seconds, seed):
    x_TF = torch.randn(frames, 4)
    silence = Silence(AugmentConfig(silence_probability=1.0, max_silence=seconds), 0.01)
    with seeded(seed):
        (out_TF, _), (before, _) = silence([x_TF, x_TF])
    most = max(1, round(seconds / 0.01))
    after = len(out_TF) - before - frames
    assert 0 <= before <= most
    assert 0 <= after <= most
    assert torch.equal(out_TF[before : before + frames], x_TF)
    quiet_TF = x_TF[x_TF.mean(dim=1).argsort()[: max(1, frames // 10)]]
    for part in (out_TF[:before], out_TF[before + frames :]):
        background = (part[:, None] == quiet_TF[None]).all(dim=2).any(dim=1).all()
        assert background or (part == SILENCE).all()


def test_silence_is_as_frequent_as_wished():
    silence = Silence(AugmentConfig(silence_probability=0.25), 0.01)
    with seeded(1):
        leads = [silence([torch.randn(20, 3)] * 4)[1] for _ in range(1000)]
    assert sum(any(batch) for batch in leads) / 1000 == pytest.approx(0.25 * 15 / 16, abs=0.04)
    assert 50 < max(max(batch) for batch in leads) <= 60


def test_probability_zero_is_off():
    x_TF = torch.randn(100, 80)
    assert torch.equal(SpecMasks(AugmentConfig(spec_probability=0.0))(x_TF), x_TF)


@pytest.mark.parametrize(
    "values",
    [
        {"speeds": ()},
        {"speeds": (1.0, 1.0)},
        {"speeds": (0.0, 1.0)},
        {"spec_probability": 1.5},
        {"frame_masks": -1},
        {"vocal_tract": 0.6},
        {"gain": -1.0},
        {"equaliser": 50.0},
        {"silence_probability": -0.1},
        {"max_silence": 0.0},
    ],
)
def test_bad_values_are_refused(values):
    with pytest.raises(ConfigError, match="augment"):
        AugmentConfig(**values)


@pytest.mark.parametrize(
    ("cls", "section"),
    [
        (AugmentConfig, "augment"),
        (DataConfig, "data"),
        (FbankConfig, "features"),
        (TokensConfig, "tokens"),
    ],
)
def test_yaml_spells_out_every_default(repo, cls, section):
    import yaml

    path = repo / "conf" / f"{section}.yaml"
    assert load_config(cls, section, [path]) == cls()
    assert set(yaml.safe_load(path.read_text())) == set(cls.__dataclass_fields__)
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    assert all("  # " in line for line in lines)

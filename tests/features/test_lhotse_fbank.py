"""The extractor under lhotse's interface."""

import numpy as np
import pytest
from lhotse.features.base import create_default_feature_extractor

from asrlib.features.lhotse_fbank import KaldifeatFbank


def test_lhotse_finds_it_by_name():
    assert isinstance(create_default_feature_extractor(KaldifeatFbank.name), KaldifeatFbank)


def test_mixing_adds_energies():
    a_TF, b_TF = (np.random.default_rng(i).normal(size=(5, 4)).astype(np.float32) for i in (0, 1))
    mixed_TF = KaldifeatFbank.mix(a_TF, b_TF, 0.25)
    np.testing.assert_allclose(np.exp(mixed_TF), np.exp(a_TF) + 0.25 * np.exp(b_TF), rtol=1e-5)
    energy = KaldifeatFbank.compute_energy(a_TF)
    assert KaldifeatFbank.compute_energy(a_TF + np.log(2)) == pytest.approx(2 * energy, rel=1e-5)


def test_mixing_silence_keeps_the_floor():
    silence_TF = np.full((3, 4), -1000.0, np.float32)
    floor = np.log(np.finfo(np.float32).eps)
    np.testing.assert_allclose(KaldifeatFbank.mix(silence_TF, silence_TF, 1.0), floor, rtol=1e-5)


def test_wrong_rate_is_refused():
    with pytest.raises(ValueError, match="8000 Hz"):
        KaldifeatFbank().extract(np.zeros(100, np.float32), 8000)

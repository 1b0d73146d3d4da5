"""Voice measures and columns, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from asrlib.audit.columns import choose_columns, quartiles
from asrlib.audit.mfcc import mfcc_statistics
from asrlib.cohorts.table import SpeakerTable


def test_statistics_do_not_hear_the_level_but_the_spectrum():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=16000) * 0.1
    dull = np.convolve(noise, np.ones(8) / 8, mode="same")
    first, louder, other = (mfcc_statistics(x, 16000) for x in (noise, 2 * noise, dull))
    assert first.shape == (40,)
    np.testing.assert_allclose(first, louder, atol=1e-3)
    assert np.abs(first - other)[:20].max() > 1


def test_a_tone_that_does_not_change_has_no_deviation():
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)  # 10 ms: whole periods
    np.testing.assert_allclose(mfcc_statistics(tone, 16000)[20:], 0, atol=1e-6)


def test_audio_shorter_than_a_frame_is_refused():
    with pytest.raises(ValueError, match="shorter than 25 ms"):
        mfcc_statistics(np.zeros(399), 16000)


def test_quartiles_are_few_and_readable():
    assert quartiles(np.arange(101.0)) == (25.0, 50.0, 75.0)
    assert quartiles(np.full(5, 3.14159)) == (3.14,)


def test_places_and_empty_columns_are_no_groups():
    names = tuple(f"s{i}" for i in range(20))
    columns = {
        "zip": tuple(["02134", "10001"] * 10),
        "latitude": tuple(["1"] * 20),
        "gender": tuple(["f", "m"] * 10),
        "hair": tuple([""] * 20),
        "height": tuple(str(150 + i) for i in range(20)),
    }
    chosen, bands, notes = choose_columns(SpeakerTable(names, columns), (), {})
    assert chosen == ("gender", "height")
    assert set(bands) == {"height"}
    assert "Column hair is empty." in notes

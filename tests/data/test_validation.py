"""Every reason for quarantine is found, and nothing good is thrown away."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asrlib.audio.io import Audio
from asrlib.config import from_dict, to_dict
from asrlib.data.validation import (
    QuarantineCounts,
    Quarantined,
    Reason,
    ValidationConfig,
    decode,
    loudest_db,
    validate_utterance,
)
from asrlib.errors import ConfigError, DataError
from asrlib.recipe import PROJECT_DIR, Recipe

RATE = 16000
CONFIG = ValidationConfig(
    expected_sample_rate=RATE,
    resample=False,
    min_duration=0.2,
    max_duration=5.0,
    silence_db=-60.0,
    max_chars_per_second=40.0,
    permit_empty_text=False,
    permit_shared_speakers=False,
    error_budget=0.1,
)


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (level * rng.standard_normal(round(seconds * RATE))).astype(np.float32)


def judge(samples_N: np.ndarray, text: str = "YES") -> str | None:
    reason = validate_utterance(samples_N, RATE, text, CONFIG)
    return reason and reason.kind


def with_value(value: float) -> np.ndarray:
    samples_N = noise(1)
    samples_N[7] = value
    return samples_N


@given(
    seconds=st.floats(0.2, 5.0),
    level=st.floats(0.002, 0.9),
    text=st.text("ABC' ", min_size=1, max_size=8),
)
def test_good_ones_pass(seconds, level, text):
    assert judge(noise(seconds, level), text) is None


@pytest.mark.parametrize(
    ("samples_N", "text", "kind"),
    [
        (noise(0), "YES", "zero-length"),
        (noise(0.1), "Y", "too short"),
        (noise(5.1), "YES", "too long"),
        (with_value(np.nan), "YES", "not finite"),
        (with_value(np.inf), "YES", "not finite"),
        (np.zeros(RATE, np.float32), "YES", "silent"),
        (noise(1, 1e-4), "YES", "silent"),
        (noise(1), "", "transcript empty"),
        (noise(1), "X" * 41, "transcript too long"),
    ],
)
def test_bad_ones_do_not(samples_N, text, kind):
    assert judge(samples_N, text) == kind


def test_voices_need_no_transcript_where_that_is_permitted():
    config = dataclasses.replace(CONFIG, permit_empty_text=True)
    assert validate_utterance(noise(1), RATE, "", config) is None
    silent = validate_utterance(np.zeros(RATE, np.float32), RATE, "", config)
    assert silent is not None


def test_a_click_does_not_make_silence_speech():
    samples_N = np.zeros(RATE, np.float32)
    samples_N[100] = 0.03
    assert judge(samples_N) == "silent"


def test_a_word_in_a_long_silence_is_speech():
    samples_N = np.zeros(4 * RATE, np.float32)
    samples_N[2 * RATE : 2 * RATE + RATE // 4] = noise(0.25)
    assert judge(samples_N) is None


@given(db=st.floats(-80, 0), seconds=st.floats(0.01, 2))
def test_loudness_of_a_constant(db, seconds):
    samples_N = np.full(max(1, round(seconds * RATE)), 10 ** (db / 20), np.float32)
    assert loudest_db(samples_N, RATE) == pytest.approx(db, abs=0.01)


def test_files(tmp_path):
    def kind(name: str) -> str:
        found = decode(tmp_path / name, CONFIG)
        return found.kind if isinstance(found, Reason) else "fit"

    soundfile.write(tmp_path / "good.flac", noise(1), RATE)
    soundfile.write(tmp_path / "rate.wav", noise(1), 8000)
    soundfile.write(tmp_path / "stereo.wav", np.stack([noise(1)] * 2, 1), RATE)
    soundfile.write(tmp_path / "short.wav", noise(1), RATE)
    data = (tmp_path / "short.wav").read_bytes()
    (tmp_path / "short.wav").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("words")
    names = ["good.flac", "rate.wav", "stereo.wav", "short.wav", "empty.wav", "text.wav", "none"]
    assert [kind(name) for name in names] == [
        "fit",
        "wrong rate",
        "not mono",
        "truncated",
        "zero-length",
        "unreadable",
        "missing",
    ]
    resampling = from_dict(ValidationConfig, {**to_dict(CONFIG), "resample": True})
    assert isinstance(decode(tmp_path / "rate.wav", resampling), Audio)


@given(total=st.integers(1, 200), bad=st.integers(0, 200), budget=st.floats(0, 1))
def test_budget_is_a_fraction_of_all(tmp_path_factory, total, bad, budget):
    bad = min(bad, total)
    counts = QuarantineCounts(Quarantined(f"u{i}", "a.wav", Reason("silent")) for i in range(bad))
    table = tmp_path_factory.getbasetemp() / "quarantine.tsv"
    if bad > budget * total:
        with pytest.raises(DataError, match=f"{bad} of {total}"):
            counts.check_budget(total, budget, table)
    else:
        counts.check_budget(total, budget, table)


def test_summary_counts_and_names_the_first():
    items = [Quarantined(f"u{i}", "a.wav", Reason("silent", f"-{i} dB")) for i in range(5)]
    items.append(Quarantined("v", "b.wav", Reason("missing")))
    assert str(QuarantineCounts(items)) == "5 silent (u0, u1, u2, ...); 1 missing (v)"


def test_project_defaults_spell_out_every_key(tmp_path):
    config = Recipe(tmp_path).config(ValidationConfig, "manifests")
    text = (PROJECT_DIR / "conf" / "manifests.yaml").read_text()
    assert all(f"\n{key}: " in text for key in to_dict(config))


def test_an_impossible_threshold_is_an_error():
    with pytest.raises(ConfigError, match="error_budget"):
        from_dict(ValidationConfig, {**to_dict(CONFIG), "error_budget": 1.5})

"""load_audio: right waveforms, and clear errors for everything else."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asrlib.audio.io import AudioError, load_audio, read_audio
from asrlib.errors import DataError


@pytest.fixture
def noise_N() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_waveform_and_rate(tmp_path, noise_N, suffix, rate):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise_N, rate)
    samples_N, got = load_audio(path)
    assert got == rate
    assert samples_N.dtype == np.float32
    np.testing.assert_allclose(samples_N, noise_N, atol=2**-15)


def test_opus(tmp_path, noise_N):
    path = tmp_path / "a.ogg"
    soundfile.write(path, noise_N, 16000, format="OGG", subtype="OPUS")
    samples_N, rate = load_audio(path)
    assert (rate, samples_N.shape) == (16000, noise_N.shape)


@given(channels=st.integers(1, 5), seed=st.integers(0, 99))
def test_channels_are_averaged(tmp_path_factory, channels, seed):
    path = tmp_path_factory.mktemp("channels") / "a.wav"
    samples_NC = np.random.default_rng(seed).uniform(-1, 1, (50, channels)).astype(np.float32)
    soundfile.write(path, samples_NC, 16000, subtype="FLOAT")
    samples_N, _ = load_audio(path)
    np.testing.assert_allclose(samples_N, samples_NC.mean(1), atol=1e-6)


def test_silence_is_audio(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    assert not load_audio(tmp_path / "a.wav")[0].any()


def _broken(tmp_path, kind):
    path = tmp_path / "a.wav"
    if kind == "directory":
        path.mkdir()
    elif kind == "0 bytes":
        path.touch()
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0), 16000)
    elif kind == "text":
        path.write_text("no audio, only words")
    elif kind == "headerless":
        path = tmp_path / "a.raw"
        path.write_bytes(bytes(1000))
    return path


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("missing", "missing"),
        ("directory", "unreadable"),
        ("0 bytes", "zero-length"),
        ("no samples", "zero-length"),
        ("text", "unreadable"),
        ("headerless", "unreadable"),
    ],
)
def test_error_names_file_reason_and_mend(tmp_path, kind, expected):
    path = _broken(tmp_path, kind)
    with pytest.raises(AudioError) as caught:
        load_audio(path)
    error = caught.value
    assert isinstance(error, DataError)
    assert error.kind == expected
    assert str(path) in error.what
    assert expected in error.what
    assert error.fix


@pytest.mark.parametrize(
    ("format_", "subtype"), [("WAV", "PCM_16"), ("NIST", "PCM_16"), ("OGG", "OPUS")]
)
def test_lost_end_is_seen_and_the_rest_is_read(tmp_path, noise_N, format_, subtype, caplog):
    path = tmp_path / "a.audio"
    soundfile.write(path, noise_N.repeat(4), 16000, format=format_, subtype=subtype)
    assert read_audio(path).truncated == ""
    whole = load_audio(path)[0]
    assert not caplog.records
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert read_audio(path).truncated
    part = load_audio(path)[0]
    assert 0 < len(part) < len(whole)
    assert str(path) in caplog.text


@pytest.mark.parametrize("samples", [14336, 14335, 16000])
def test_end_of_opus_is_seen_where_libsndfile_misses_it(tmp_path, noise_N, samples):
    path = tmp_path / "a.ogg"
    soundfile.write(path, np.resize(noise_N, samples), 16000, format="OGG", subtype="OPUS")
    assert read_audio(path).truncated == ""
    data = path.read_bytes()
    for lost in (1, 100, len(data) // 2):
        path.write_bytes(data[:-lost])
        try:
            assert read_audio(path).truncated
        except AudioError:  # nothing is left of it
            continue


def test_lost_end_of_flac(tmp_path, noise_N):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise_N.repeat(4), 16000)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match="unreadable"):
        load_audio(path)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF])
def test_wav_of_a_writer_that_did_not_know_the_length(tmp_path, noise_N, length):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise_N, 16000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = length.to_bytes(4, "little")
    path.write_bytes(data)
    audio = read_audio(path)
    assert audio.truncated == ""
    assert len(audio.mono_N) == len(noise_N)


@pytest.mark.realdata
def test_real_files(shared_data):
    wavs = shared_data / "an4" / "wav" / "an4test_clstk"
    files = sorted(wavs.rglob("*.flac"))[:20]
    files += sorted((shared_data / "speechocean762" / "WAVE").rglob("*.ogg"))[:20]
    for path in files:
        audio = read_audio(path)
        assert audio.truncated == ""
        assert audio.rate == 16000
        assert 0.01 < np.abs(audio.mono_N).max() <= 1

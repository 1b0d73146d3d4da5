"""Reading in pieces is reading the whole."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from asrlib.audio.io import AudioError, load_audio
from asrlib.audio.stream import read_pieces


@pytest.mark.parametrize(
    ("suffix", "channels", "rate"), [("wav", 1, 16000), ("flac", 2, 44100), ("ogg", 1, 8000)]
)
@pytest.mark.parametrize("seconds", [0.0, 0.013, 0.5, 100.0])
def test_pieces_are_the_whole(tmp_path, suffix, channels, rate, seconds):
    path = tmp_path / f"a.{suffix}"
    shape = (rate // 10 if seconds == 0 else rate, channels)
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, shape), rate)
    whole, _ = load_audio(path)
    pieces = list(read_pieces(path, seconds))
    assert {r for _, r in pieces} == {rate}
    assert {len(piece) for piece, _ in pieces[:-1]} <= {max(1, round(seconds * rate))}
    np.testing.assert_array_equal(np.concatenate([piece for piece, _ in pieces]), whole)


@pytest.mark.parametrize(
    ("content", "kind"), [(None, "missing"), (b"", "zero-length"), (b"what is this", "unreadable")]
)
def test_files_without_audio(tmp_path, content, kind):
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        list(read_pieces(path, 1.0))
    assert caught.value.kind == kind
    assert str(path) in caught.value.what


def test_no_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(AudioError, match="zero-length"):
        list(read_pieces(tmp_path / "a.wav", 1.0))

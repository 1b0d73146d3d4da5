"""Audio files in, mono waveforms out.

Shapes: N samples, C channels.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asrlib.errors import DataError

# What a writer that streams puts into a RIFF header when it does not know the length yet.
_UNKNOWN_WAV_LENGTH = 0x7FFF0000


class AudioError(DataError):
    """A file that gives no audio.

    Attributes:
        kind: one of missing, unreadable, zero-length.
        detail: what the decoder says, or the empty string.
    """

    def __init__(self, path: Path, kind: str, detail: str, fix: str) -> None:
        super().__init__(f"{path}: {kind}" + (f" ({detail})" if detail else ""), fix)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Audio:
    """A decoded file.

    Attributes:
        samples_NC: float32 in [-1, 1].
        rate: samples per second.
        truncated: how the file shows that its end is lost, or the empty string.
    """

    samples_NC: np.ndarray
    rate: int
    truncated: str

    @property
    def mono_N(self) -> np.ndarray:
        """All channels averaged."""
        if self.samples_NC.shape[1] == 1:
            return self.samples_NC[:, 0]
        return self.samples_NC.mean(axis=1, dtype=np.float32)


def read_audio(path: Path) -> Audio:
    """Decode any file that libsndfile reads (WAV, FLAC, Ogg Opus and Vorbis, MP3, SPHERE, ...).

    Raises:
        AudioError: missing, unreadable, or without a single sample.
    """
    path = Path(path)
    if not path.exists():
        raise AudioError(path, "missing", "", "check the path, or fetch the corpus again")
    if not path.is_file():
        raise AudioError(path, "unreadable", "not a file", "give an audio file")
    if path.stat().st_size == 0:
        raise AudioError(path, "zero-length", "0 bytes", "fetch or record the file again")
    try:
        with soundfile.SoundFile(path) as file:
            samples_NC = file.read(dtype="float32", always_2d=True)
            truncated = _truncated(path, file, len(samples_NC))
            rate = file.samplerate
    except (soundfile.LibsndfileError, OSError, TypeError) as e:
        raise AudioError(path, "unreadable", _reason(e), _MEND_UNREADABLE) from e
    if len(samples_NC) == 0:
        raise AudioError(path, "zero-length", "no samples", "fetch or record the file again")
    return Audio(samples_NC, rate, truncated)


def load_audio(path: Path) -> tuple[np.ndarray, int]:
    """A file's waveform.

    A file whose end is lost is read as far as it goes, with a warning in the log.

    Returns:
        samples_N: float32 in [-1, 1]; channels are averaged.
        rate: samples per second.

    Raises:
        AudioError: missing, unreadable, or without a single sample.
    """
    audio = read_audio(path)
    if audio.truncated:
        logging.warning("%s: truncated (%s); what is left was read", path, audio.truncated)
    return audio.mono_N, audio.rate


_MEND_UNREADABLE = (
    "give a whole WAV, FLAC, Ogg or MP3 file; convert others first, e.g. ffmpeg -i IN OUT.wav"
)


def _reason(error: Exception) -> str:
    """The decoder's own words, without the path that libsndfile repeats."""
    if isinstance(error, TypeError):
        return "headerless audio"
    text = getattr(error, "error_string", None) or str(error)
    return re.sub(r"\s+", " ", text).strip(" .:") or "the decoder fails inside the file"


def _truncated(path: Path, file: soundfile.SoundFile, read: int) -> str:
    """Signs of a lost end that libsndfile passes over in silence."""
    if read < file.frames:
        return f"{read} of {file.frames} samples"
    info = file.extra_info
    if file.format == "OGG" and "end-of-stream" in info.lower():
        return "no end-of-stream mark"
    if file.format in ("WAV", "WAVEX"):
        lengths = re.search(r"^data : (\d+) \(should be (\d+)\)", info, re.MULTILINE)
        if lengths and int(lengths[2]) < int(lengths[1]) < _UNKNOWN_WAV_LENGTH:
            return f"{lengths[2]} of {lengths[1]} bytes"
    if file.format == "NIST":
        with open(path, "rb") as f:
            count = re.search(rb"sample_count -i (\d+)", f.read(1024))
        if count and read < int(count[1]):
            return f"{read} of {int(count[1])} samples"
    return ""

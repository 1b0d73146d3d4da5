"""Decode audio files into waveforms.

Shapes: N samples, C channels.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asrlib.errors import DataError

# A WAV header states this length or more if its writer did not know the length beforehand.
_UNKNOWN_WAV_LENGTH = 0x7FFF0000
_LONGEST_OGG_PAGE = 65307  # bytes
# FLAC has up to 65,535 samples of silence in 12 bytes or more. Without this bound, a damaged header
# that announces 2^36 samples would take all memory.
_MOST_SAMPLES_OF_A_BYTE = 6000


class AudioError(DataError):
    """An audio file cannot be decoded.

    Attributes:
        kind: `missing`, `unreadable` or `zero-length`.
        detail: message of the decoder, or the empty string.
    """

    def __init__(self, path: Path, kind: str, detail: str, fix: str) -> None:
        super().__init__(f"{path}: {kind}" + (f" ({detail})" if detail else ""), fix)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Audio:
    """A decoded audio file.

    Attributes:
        samples_NC: float32 samples in [-1, 1].
        rate: sample rate, Hz.
        truncated: sign that the end of the file is lost (for example `90 of 100 samples`), or
            the empty string.
    """

    samples_NC: np.ndarray
    rate: int
    truncated: str

    @property
    def mono_N(self) -> np.ndarray:
        """Mean over the channels, (N,)."""
        if self.samples_NC.shape[1] == 1:
            return self.samples_NC[:, 0]
        return self.samples_NC.mean(axis=1, dtype=np.float32)


def read_audio(path: Path) -> Audio:
    """Decode a file in any format of libsndfile (WAV, FLAC, Ogg Opus, Vorbis, MP3, SPHERE, ...).

    Raises:
        AudioError: the file is missing, unreadable or has no samples.
    """
    path = Path(path)
    try:
        exists = path.exists()
    except (OSError, ValueError) as e:  # a name that is too long, or has a NUL
        reason = getattr(e, "strerror", None) or str(e)
        raise AudioError(path, "unreadable", reason, "give the file another name") from e
    if not exists:
        raise AudioError(path, "missing", "", "check the path, or fetch the corpus again")
    if not path.is_file():
        raise AudioError(path, "unreadable", "not a file", "give an audio file")
    if path.stat().st_size == 0:
        raise AudioError(path, "zero-length", "0 bytes", "fetch or record the file again")
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames > _MOST_SAMPLES_OF_A_BYTE * path.stat().st_size:
                raise OSError(f"announces {file.frames} samples, more than the file can hold")
            samples_NC = file.read(dtype="float32", always_2d=True)
            truncated = _truncated(path, file, len(samples_NC))
            rate = file.samplerate
    except (soundfile.LibsndfileError, OSError, TypeError) as e:
        raise AudioError(path, "unreadable", _reason(e), _MEND_UNREADABLE) from e
    if len(samples_NC) == 0:
        raise AudioError(path, "zero-length", "no samples", "fetch or record the file again")
    return Audio(samples_NC, rate, truncated)


def load_audio(path: Path) -> tuple[np.ndarray, int]:
    """Decode a file into a mono waveform.

    If the end of the file is lost, the samples before it are returned and a warning is logged.

    Returns:
        samples_N: float32 samples in [-1, 1]; channels are averaged.
        rate: sample rate, Hz.

    Raises:
        AudioError: the file is missing, unreadable or has no samples.
    """
    audio = read_audio(path)
    if audio.truncated:
        logging.warning(
            "%s: truncated (%s); only the remaining part was read", path, audio.truncated
        )
    return audio.mono_N, audio.rate


_MEND_UNREADABLE = (
    "give an intact WAV, FLAC, Ogg or MP3 file; convert others first, e.g. ffmpeg -i IN OUT.wav"
)


def _reason(error: Exception) -> str:
    """Return the decoder's message, without the path that libsndfile repeats."""
    if isinstance(error, TypeError):
        return "headerless audio"
    text = getattr(error, "error_string", None) or str(error)
    return re.sub(r"\s+", " ", text).strip(" .:") or "the decoder fails inside the file"


def _ogg_ends(path: Path) -> bool:
    """Whether the file's last Ogg page is whole and is marked as the stream's end (RFC 3533).

    libsndfile also misses the mark in whole files, of 14,336 samples for example, whose last packet
    ends where a block of its decoder ends.
    """
    with open(path, "rb") as f:
        f.seek(-min(path.stat().st_size, _LONGEST_OGG_PAGE), os.SEEK_END)
        data = f.read()
    at = data.rfind(b"OggS")
    if at < 0 or len(data) < at + 27:
        return False
    segments = data[at + 27 : at + 27 + data[at + 26]]
    whole = len(segments) == data[at + 26] and at + 27 + len(segments) + sum(segments) == len(data)
    return whole and bool(data[at + 5] & 4)


def _truncated(path: Path, file: soundfile.SoundFile, read: int) -> str:
    """Describe a lost end of the file that libsndfile does not report; empty if there is none."""
    if read < file.frames:
        return f"{read} of {file.frames} samples"
    info = file.extra_info
    if file.format == "OGG" and "end-of-stream" in info.lower() and not _ogg_ends(path):
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

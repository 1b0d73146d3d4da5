"""Read audio files in pieces, so that an hour of audio needs no more memory than a minute.

Shapes: N samples, C channels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from asrlib.audio.io import read_audio

log = logging.getLogger(__name__)


def read_pieces(path: Path, seconds: float) -> Iterator[tuple[np.ndarray, int]]:
    """Decode a file piece by piece, in any format that libsndfile reads.

    If the end of the file is lost, the samples before it are yielded and a warning is logged.

    Args:
        path: audio file.
        seconds: length of a piece; the last piece may be shorter.

    Yields:
        samples_N: float32 samples in [-1, 1]; channels are averaged.
        rate: sample rate, Hz.

    Raises:
        AudioError: the file is missing, unreadable or has no samples.
    """
    path, read = Path(path), 0
    try:
        with soundfile.SoundFile(path) as file:
            length = max(1, round(seconds * file.samplerate))
            while len(samples_NC := file.read(length, dtype="float32", always_2d=True)):
                read += len(samples_NC)
                yield samples_NC.mean(axis=1, dtype=np.float32), file.samplerate
            if 0 < read < file.frames:
                log.warning("%s: truncated (%d of %d samples)", path, read, file.frames)
    except (soundfile.LibsndfileError, OSError, TypeError):
        read_audio(path)  # raises an AudioError with the reason and the fix
        raise
    if read == 0:
        read_audio(path)

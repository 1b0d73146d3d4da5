"""Convert SPHERE audio to FLAC: lhotse reads SPHERE only with a rarely installed program."""

from __future__ import annotations

import os
from pathlib import Path

import soundfile

from asrlib.audio.io import AudioError, read_audio
from asrlib.files import atomic_path


def as_flac(path: Path, out: Path) -> Path:
    """Make a lossless FLAC copy of a 16-bit SPHERE file, unless there is an up-to-date copy.

    The copy has the date of its source, so that another source is noticed whatever its date.

    Returns:
        `out`, or `path` if the file is broken; the manifests command then reports the fault.
    """
    dated = path.stat().st_mtime_ns
    if out.exists() and out.stat().st_mtime_ns == dated:
        return out
    try:
        audio = read_audio(path)
    except AudioError:
        return path
    if audio.truncated:
        return path
    with atomic_path(out) as temp:
        soundfile.write(temp, audio.samples_NC, audio.rate, format="FLAC", subtype="PCM_16")
        os.utime(temp, ns=(dated, dated))
    return out

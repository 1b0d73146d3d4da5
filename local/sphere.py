"""SPHERE audio as FLAC: lhotse reads SPHERE only with a program that few machines have."""

from __future__ import annotations

from pathlib import Path

import soundfile

from asrlib.audio.io import AudioError, read_audio
from asrlib.files import atomic_path


def as_flac(path: Path, out: Path) -> Path:
    """A lossless FLAC copy of a 16-bit SPHERE file, made once; a broken file stays as it is.

    Returns:
        `out`, or `path` where the file is broken: the manifests command says how.
    """
    if out.exists() and out.stat().st_mtime_ns >= path.stat().st_mtime_ns:
        return out
    try:
        audio = read_audio(path)
    except AudioError:
        return path
    if audio.truncated:
        return path
    with atomic_path(out) as temp:
        soundfile.write(temp, audio.samples_NC, audio.rate, format="FLAC", subtype="PCM_16")
    return out

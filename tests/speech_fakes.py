"""Small made-up corpora for tests: noise that is as long as its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.supervision import AlignmentItem

WORDS = ["YES", "NO", "ON", "OFF", "PLAY", "STOP", "MUSIC", "LIGHT"]


def make_cut(
    folder: Path, name: str, seconds: float, words: int = 2, rate: int = 16000, channels: int = 1
) -> MonoCut:
    """A cut whose recording lies in `folder`, with evenly spaced word times."""
    rng = np.random.default_rng(sum(map(ord, name)))
    samples_NC = 0.1 * rng.standard_normal((round(seconds * rate), channels))
    path = folder / f"{name}.wav"
    soundfile.write(path, samples_NC, rate)
    spoken = [str(w) for w in rng.choice(WORDS, words)]
    length = seconds / max(words, 1)
    alignment = [
        AlignmentItem(w, round(i * length, 4), round(0.8 * length, 4)) for i, w in enumerate(spoken)
    ]
    # one channel, as stage 1 declares it: channels of a file are averaged on reading
    source = AudioSource("file", [0], str(path))
    recording = Recording(name, [source], rate, len(samples_NC), len(samples_NC) / rate)
    supervision = SupervisionSegment(
        id=name,
        recording_id=name,
        start=0.0,
        duration=recording.duration,
        text=" ".join(spoken),
        speaker=f"s{len(name)}",
        gender="f",
        custom={"age": 30},
        alignment={"word": alignment},
    )
    return MonoCut(name, 0.0, recording.duration, 0, [supervision], recording=recording)


def make_cuts(folder: Path, number: int, *, shortest: float = 0.6, step: float = 0.05) -> CutSet:
    """Cuts of different lengths."""
    folder.mkdir(parents=True, exist_ok=True)
    return CutSet.from_cuts(
        make_cut(folder, f"u{i:03d}", shortest + step * ((7 * i) % number), 1 + i % 4)
        for i in range(number)
    )

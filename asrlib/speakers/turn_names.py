"""Name the turns of a recording by voice: turns with similar embeddings get one speaker.

The method is ours: turns in order of start are assigned to the most similar speaker so far, if the
cosine reaches a threshold and the speaker has no turn at the same time, else to a new speaker. A
speaker is the sum of the unit-length embeddings of the turns. The usual clustering of all turns at
the end of a meeting would need to wait for it.

Shapes: N samples, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asrlib.audio.io import load_audio
from asrlib.errors import DataError, UserError
from asrlib.speakers.embedder import Embedder
from asrlib.text.turns import Turn

LEAST_SECONDS = 0.5  # less speech says too little about a voice
Spans = list[tuple[float, float]]


def free_spans(turn: Turn, others: Sequence[Turn]) -> Spans:
    """Return the parts of a turn in which no other turn is active, as (start, end) in seconds."""
    spans: Spans = [(turn.start, turn.end)]
    for other in others:
        if other is turn:
            continue
        cut: Spans = []
        for start, end in spans:
            if other.end <= start or other.start >= end:
                cut.append((start, end))
                continue
            cut += [(a, b) for a, b in ((start, other.start), (other.end, end)) if a < b]
        spans = cut
    return spans


def speech_of(turn: Turn, others: Sequence[Turn], samples_N: np.ndarray, rate: int) -> np.ndarray:
    """Cut the samples of a turn out of a recording, without what others say in between.

    Where less than `LEAST_SECONDS` would remain, the whole turn is returned.
    """
    spans = free_spans(turn, others)
    if sum(end - start for start, end in spans) < LEAST_SECONDS:
        spans = [(turn.start, turn.end)]
    pieces = [samples_N[round(start * rate) : round(end * rate)] for start, end in spans]
    return np.concatenate(pieces) if pieces else samples_N[:0]


def name_turns(
    turns: Sequence[Turn],
    samples_N: np.ndarray,
    rate: int,
    embed: Callable[[np.ndarray, int], np.ndarray],
    threshold: float,
) -> list[Turn]:
    """Name the speakers of turns, `speaker1`, `speaker2` and so on, in order of appearance.

    Args:
        turns: turns of one recording.
        samples_N: its audio, one channel.
        rate: samples per second.
        embed: gives the embedding (D,) of samples; it raises DataError if they cannot be embedded.
        threshold: least cosine between a turn and its speaker.

    Returns:
        The turns in order of start. A turn that cannot be embedded, for example because it is too
        short, keeps no speaker.
    """
    ordered = sorted(turns, key=lambda turn: (turn.start, turn.channel))
    voices: list[np.ndarray] = []
    members: list[list[Turn]] = []
    named = []
    for turn in ordered:
        try:
            vector_D = embed(speech_of(turn, ordered, samples_N, rate), rate)
        except DataError:
            named.append(replace(turn, speaker=None))
            continue
        unit_D = vector_D / max(float(np.linalg.norm(vector_D)), 1e-12)
        free = [k for k in range(len(voices)) if not any(_overlap(turn, m) for m in members[k])]
        cosines = {k: float(unit_D @ voices[k] / np.linalg.norm(voices[k])) for k in free}
        best = max(cosines, key=cosines.__getitem__, default=None)
        if best is None or cosines[best] < threshold:
            best = len(voices)
            voices.append(np.zeros_like(unit_D))
            members.append([])
        voices[best] = voices[best] + unit_D
        members[best].append(turn)
        named.append(replace(turn, speaker=f"speaker{best + 1}"))
    return named


@dataclass(frozen=True)
class Voices:
    """A speaker model that names turns.

    Attributes:
        embedder: the model.
        threshold: least cosine between a turn and its speaker.
    """

    embedder: Embedder
    threshold: float

    @classmethod
    def of(cls, path: Path, threshold: float | None = None) -> Voices:
        """Load a speaker model.

        Args:
            path: its file, or the directory that holds `final.pt`.
            threshold: instead of the threshold of the equal error rate of its dev speakers.

        Raises:
            CheckpointError: the file is missing or holds no speaker model.
            UserError: neither the file nor the caller gives a threshold.
        """
        embedder = Embedder.of(path / "final.pt" if path.is_dir() else path)
        threshold = embedder.threshold if threshold is None else threshold
        if threshold is None:
            raise UserError(
                f"{path}: holds no threshold of dev speakers", "give --speaker-threshold"
            )
        return cls(embedder, threshold)

    def named(self, turns: Sequence[Turn], audio: Path) -> list[Turn]:
        """Name the turns of an audio file, whose channels are averaged.

        Raises:
            DataError: the file cannot be read.
        """
        return self.named_in(turns, *load_audio(audio))

    def named_in(self, turns: Sequence[Turn], samples_N: np.ndarray, rate: int) -> list[Turn]:
        """Name the turns of a recording; see `name_turns`."""
        return name_turns(turns, samples_N, rate, self.embedder.samples, self.threshold)


def _overlap(a: Turn, b: Turn) -> bool:
    return a.start < b.end and b.start < a.end

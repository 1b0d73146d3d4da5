"""Embeddings of speakers whose voices are easy or hard to tell apart, because we plant them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asrlib.embedding_table import EmbeddingTable
from asrlib.verification.scores import ScoredTrials
from asrlib.verification.trials import Trials

WIDTH = 12


def planted_table(
    noises: Sequence[float], utterances: int = 6, seed: int = 0, prefix: str = "s"
) -> EmbeddingTable:
    """One speaker for each noise: utterances scatter by it around the speaker's own vector."""
    rng = np.random.default_rng(seed)
    count = len(noises)
    voices = rng.normal(size=(count, 1, WIDTH))
    scatter = rng.normal(size=(count, utterances, WIDTH)) * np.reshape(noises, (count, 1, 1))
    names = [f"{prefix}{s:03d}" for s in range(count)]
    return EmbeddingTable(
        tuple(f"{name}-{u}" for name in names for u in range(utterances)),
        tuple(name for name in names for _ in range(utterances)),
        (voices + scatter).reshape(-1, WIDTH).astype(np.float32),
    )


def scored(
    first: Sequence[str],
    second: Sequence[str],
    scores: Sequence[float],
    symmetric: bool = False,
) -> ScoredTrials:
    """Trials of speakers, each trial with two utterances of its own."""
    speakers = [*first, *second]
    count = len(first)
    target = [a == b for a, b in zip(first, second, strict=True)]
    trials = Trials(
        np.arange(count, dtype=np.int32),
        np.arange(count, 2 * count, dtype=np.int32),
        np.array(target, dtype=bool),
        symmetric,
    )
    ids = tuple(f"u{i}" for i in range(2 * count))
    return ScoredTrials(ids, tuple(speakers), trials, np.array(scores, dtype=np.float32))

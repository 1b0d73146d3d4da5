"""Sets of speakers, drawn from models whose true rate is known."""

from __future__ import annotations

import numpy as np

from asrlib.scoring.speaker_sums import SpeakerSums


def gamma_speakers(
    rng: np.random.Generator, count: int, mean: float, cv: float = 0.6, words: int = 80, name="s"
) -> SpeakerSums:
    """Poisson errors of speakers whose rates are gamma distributed."""
    rates_S = rng.gamma(1 / cv**2, mean * cv**2, count) if cv else np.full(count, mean)
    words_S = np.full(count, float(words))
    ids = tuple(f"{name}{i:04d}" for i in range(count))
    return SpeakerSums(ids, rng.poisson(rates_S * words).astype(np.float64), words_S)


def sums(name: str, errors: list[float], words: list[float]) -> SpeakerSums:
    ids = tuple(f"{name}{i}" for i in range(len(errors)))
    return SpeakerSums(ids, np.array(errors, np.float64), np.array(words, np.float64))


def split(everybody: SpeakerSums, groups: int) -> dict[str, SpeakerSums]:
    """Groups of equal size, in order of speaker."""
    each = len(everybody) // groups
    return {
        f"g{g:02d}": everybody.take(everybody.speakers[g * each : (g + 1) * each])
        for g in range(groups)
    }

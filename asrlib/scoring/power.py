"""Power: the smallest gap between two groups that a set of speakers could show.

The model of speakers is that of `SpeakerVariation`. On the logarithm of the rates, a gap g shows
with probability `POWER` if log(1 + g) is (critical value + normal quantile of `POWER`) standard
errors; the standard error itself depends on g, since more errors tell more.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import root_scalar
from scipy.stats import norm

from asrlib.scoring.between_groups import SpeakerVariation
from asrlib.scoring.speaker_sums import CONFIDENCE, t_quantile

POWER = 0.8
_LARGEST = math.log(1e6)  # a gap beyond it is none that anyone would call detectable


def detectable_gap(
    variation: SpeakerVariation,
    rate: float,
    bottom_words_S: np.ndarray,
    top_words_S: np.ndarray,
    confidence: float = CONFIDENCE,
    critical: float | None = None,
    power: float = POWER,
) -> float | None:
    """Compute the smallest gap (bottom - top) / top that a test finds with probability `power`.

    Args:
        rate: error rate of the better group, above 0.
        bottom_words_S, top_words_S: reference words of the speakers of the two groups.
        critical: standard errors beyond which the test rejects, for a pair that was picked among
            many; by default Student's t for two groups that were chosen beforehand.

    Returns:
        The gap as a fraction (0.84 is 84 %); None if no gap of these groups would show.
    """
    degrees = len(bottom_words_S) + len(top_words_S) - 2
    words = float(bottom_words_S.sum()), float(top_words_S.sum())
    if degrees < 1 or min(words) <= 0 or rate <= 0:
        return None
    needed = t_quantile(confidence, degrees) if critical is None else critical
    needed += float(norm.ppf(power))
    top = variation.log_variance(rate * words[1], top_words_S)

    def excess(log_ratio: float) -> float:
        errors = rate * math.exp(log_ratio) * words[0]
        bottom = variation.log_variance(errors, bottom_words_S)
        return log_ratio - needed * math.sqrt(bottom + top)

    if excess(_LARGEST) < 0:
        return None
    return math.expm1(root_scalar(excess, bracket=(0.0, _LARGEST)).root)


def speakers_needed(
    variation: SpeakerVariation, rate: float, words: float, gap: float, power: float = POWER
) -> int:
    """Compute how many speakers each of two groups needs, so that a gap shows.

    Args:
        rate: error rate of the better group, above 0.
        words: reference words of each speaker.
        gap: (bottom - top) / top, above 0.
    """

    def shows(speakers: int) -> bool:
        words_S = np.full(speakers, words)
        found = detectable_gap(variation, rate, words_S, words_S, power=power)
        return found is not None and found <= gap

    low, high = 1, 2
    while not shows(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high

"""How much speakers differ, how much groups differ beyond that, and what gap would show.

- Speakers: a model of two numbers, fitted by moments (`SpeakerVariation`).
- Groups: the variance tau^2 of their true rates, and rates shrunken towards the mean by it.
- Power: on the logarithm of the rates, a gap g shows with probability `POWER` if log(1 + g) is
  (critical value + normal quantile of `POWER`) standard errors of the speaker model. The standard
  error itself depends on g, since more errors tell more.

Shapes: C is the number of groups, S of speakers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import ndtri

from asrlib.json_record import JsonRecord
from asrlib.scoring.speaker_sums import CONFIDENCE, SpeakerSums, t_quantile

POWER = 0.8
_LARGEST = math.log(1e6)  # a gap beyond it is none that anyone would call detectable


@dataclass(frozen=True)
class SpeakerVariation(JsonRecord):
    """The model of speakers: e_s has mean r n_s and variance d r n_s + (cv r n_s)^2.

    With d = 1 it is the mean and variance of a Poisson count whose rate is gamma distributed over
    speakers. Counts that vary less than Poisson counts have d < 1 and cv = 0.

    Attributes:
        cv: between-speaker coefficient of variation of the rate, within groups.
        dispersion: d, between 0 and 1.
    """

    cv: float
    dispersion: float

    def log_variance(self, errors: float, words_S: np.ndarray) -> float:
        """Variance of the logarithm of a group's rate.

        Args:
            errors: expected number of errors of the group, above 0.
            words_S: reference words of its speakers.
        """
        share = float((words_S**2).sum()) / float(words_S.sum()) ** 2
        return self.dispersion / errors + self.cv**2 * share


def fit_variation(groups: Sequence[SpeakerSums]) -> SpeakerVariation | None:
    """Fit the speaker model by moments, each group around its own rate.

    Returns:
        The variation; None if no group has two speakers, or none makes an error.
    """
    used = [g for g in groups if g.counted > 0 and g.words > 0]
    speakers, errors = sum(g.counted for g in used), sum(g.errors for g in used)
    if speakers <= len(used) or errors == 0:
        return None
    squares = sum(float((g.residuals_S**2).sum()) for g in used)
    squares *= speakers / (speakers - len(used))
    scale = sum(g.rate**2 * float((g.words_S**2).sum()) for g in used)
    cv = max(0.0, (squares - errors) / scale) ** 0.5
    return SpeakerVariation(cv, min(1.0, squares / errors))


@dataclass(frozen=True)
class GroupVariance(JsonRecord):
    """Variance of the true rates of groups, with the noise of sampling taken out.

    Attributes:
        mean: mean rate of the groups, weighted by 1 / se^2.
        tau2: estimated variance of the true rates; 0 if the groups differ no more than the
            sampling of their speakers explains.
        raw: variance of the observed rates, which the sampling inflates.
    """

    mean: float
    tau2: float
    raw: float


def group_variance(rates_C: np.ndarray, errors_C: np.ndarray) -> GroupVariance:
    """Estimate the between-group variance by moments (DerSimonian and Laird, 1986).

    Args:
        rates_C, errors_C: rates of at least two groups, and their standard errors, above 0.

    Raises:
        ValueError: fewer than two groups, or a standard error that is not positive.
    """
    if len(rates_C) < 2 or not np.all(errors_C > 0):
        raise ValueError("tau^2 needs two groups with positive standard errors")
    w_C = 1 / errors_C**2
    total = float(w_C.sum())
    mean = float(w_C @ rates_C) / total
    q = float(w_C @ (rates_C - mean) ** 2)
    tau2 = (q - len(rates_C) + 1) / (total - float((w_C**2).sum()) / total)
    return GroupVariance(mean, max(0.0, tau2), float(np.var(rates_C, ddof=1)))


def shrunken_rates(
    rates_C: np.ndarray, errors_C: np.ndarray, variance: GroupVariance
) -> np.ndarray:
    """Pull each rate towards the mean, the more the less its group's speakers say; (C,).

    This is mean + tau^2 / (tau^2 + se^2) (rate - mean); an infinite standard error gives the mean.
    """
    keep_C = variance.tau2 / (variance.tau2 + errors_C**2)
    return variance.mean + keep_C * (rates_C - variance.mean)


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
            many; by default the gap's own interval has to lie above zero (`gaps.contrast`), which
            takes two speakers in each group.

    Returns:
        The gap as a fraction (0.84 is 84 %); None if no gap of these groups would show.
    """
    sizes = len(bottom_words_S), len(top_words_S)
    words = float(bottom_words_S.sum()), float(top_words_S.sum())
    if min(words) <= 0 or rate <= 0 or (critical is None and min(sizes) < 2):
        return None
    quantiles = [t_quantile(confidence, n - 1) if critical is None else critical for n in sizes]
    luck = float(ndtri(power))
    top = math.sqrt(variation.log_variance(rate * words[1], top_words_S))

    def excess(log_ratio: float) -> float:
        errors = rate * math.exp(log_ratio) * words[0]
        bottom = math.sqrt(variation.log_variance(errors, bottom_words_S))
        reach = math.hypot(quantiles[0] * bottom, quantiles[1] * top)
        return log_ratio - reach - luck * math.hypot(bottom, top)

    if excess(_LARGEST) < 0:
        return None
    return math.expm1(root_scalar(excess, bracket=(0.0, _LARGEST)).root)


def detectable_difference(error: float, critical: float, power: float = POWER) -> float:
    """Compute the smallest difference that a test finds with probability `power`.

    Args:
        error: standard error of the difference.
        critical: standard errors beyond which the test rejects.
    """
    return (critical + float(ndtri(power))) * error


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

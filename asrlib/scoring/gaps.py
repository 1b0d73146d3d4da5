"""Gaps between groups of speakers, and changes between two systems, with intervals.

- A gap is (bottom - top) / top, as in arXiv 2207.11345. The interval of the ratio bottom / top (on
  the logarithm) and that of the difference combine the intervals of the two rates by the method
  MOVER (Zou and Donner, Statistics in Medicine 2008). Speakers who are in both groups correlate the
  two rates; the correlation enters.
- A paired change has the residuals z_s of both systems subtracted speaker by speaker, and
  Student's t.
- The change of a gap comes from one set of speaker draws for both systems and all cohorts.

Shapes: S is the number of speakers, R of draws, C of cohorts, K of counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtr

from asrlib.json_record import JsonRecord
from asrlib.scoring.speaker_sums import (
    CONFIDENCE,
    Interval,
    SpeakerSums,
    poisson_interval,
    t_quantile,
)
from asrlib.scoring.wer import ErrorRate

_BLOCK = 4_000_000  # drawn speakers at a time; it limits memory


@dataclass(frozen=True)
class Resampling:
    """Settings of intervals, permutations and draws of speakers.

    Attributes:
        replicates: number of draws of speakers, for medians and for changes of a gap.
        confidence: coverage of the intervals, 0 to 1.
        seed: seed of the pseudo-random draws and permutations.
        permutations: number of permutations of a test.
    """

    replicates: int = 10_000
    confidence: float = CONFIDENCE
    seed: int = 1
    permutations: int = 2_000


@dataclass(frozen=True)
class Comparison(JsonRecord):
    """Comparison of system B with system A on the same utterances.

    A negative difference means that B makes fewer errors.

    Attributes:
        a, b: error counts of the two systems.
        difference: rate of B minus rate of A, in percentage points.
        interval: confidence interval of the difference, in percentage points; None with fewer
            than two speakers.
        relative: the difference in per cent of the rate of A; None if A makes no error.
        p_value: two-sided p-value of the hypothesis "no difference"; 1 with fewer than two
            speakers.
        speakers: number of speakers.
    """

    a: ErrorRate
    b: ErrorRate
    difference: float
    interval: Interval | None
    relative: float | None
    p_value: float
    speakers: int


def compare_speakers(
    a: Mapping[str, ErrorRate], b: Mapping[str, ErrorRate], confidence: float = CONFIDENCE
) -> Comparison:
    """Compare two systems in pairs: a speaker who is difficult for both says nothing.

    The interval is difference +- t se with S - 1 degrees of freedom, se^2 = S / (S - 1) sum(z^2)
    and z_s = z_s(B) / n(B) - z_s(A) / n(A). If every speaker's rate changes by the same amount, se
    is that of a Poisson count of the errors that changed.

    Args:
        a, b: error counts by speaker, one mapping for each system.

    Raises:
        ValueError: the two mappings have different speakers.
    """
    if set(a) != set(b):
        raise ValueError("both systems need the same speakers")
    total_a, total_b = ErrorRate.sum(a.values()), ErrorRate.sum(b.values())
    sums_a, sums_b = SpeakerSums.of(a), SpeakerSums.of(b)
    difference = total_b.rate - total_a.rate
    interval, p_value = None, 1.0
    if sums_a.counted > 1 and total_a.words and total_b.words:
        influence_S = sums_b.residuals_S / sums_b.words - sums_a.residuals_S / sums_a.words
        speakers = sums_a.counted
        error = math.sqrt(speakers / (speakers - 1) * float((influence_S**2).sum()))
        if error < 1e-9 * abs(difference):
            error = math.sqrt(abs(difference) / max(sums_a.words, sums_b.words))
        reach = t_quantile(confidence, speakers - 1) * error
        interval = Interval(difference - reach, difference + reach).percent()
        if error:
            p_value = float(2 * stdtr(speakers - 1, -abs(difference) / error))
    return Comparison(
        a=total_a,
        b=total_b,
        difference=100 * difference,
        interval=interval,
        relative=100 * (difference / total_a.rate) if total_a.errors and total_a.words else None,
        p_value=p_value,
        speakers=len(a),
    )


@dataclass(frozen=True)
class Contrast(JsonRecord):
    """Two rates compared: a bottom group with a top group.

    Attributes:
        difference: bottom minus top, in percentage points.
        difference_interval: its interval; None if a group has only one speaker.
        gap: (bottom - top) / top, in per cent; None if the top group makes no error.
        gap_interval: its interval; None if a group has only one speaker, or makes no error.
    """

    difference: float
    difference_interval: Interval | None
    gap: float | None
    gap_interval: Interval | None


def contrast(
    bottom: SpeakerSums,
    top: SpeakerSums,
    confidence: float = CONFIDENCE,
) -> Contrast:
    """Compare two groups that were chosen beforehand; they may share speakers."""
    ends = bottom.interval(confidence), top.interval(confidence)
    return contrast_of(bottom.rate, top.rate, *ends, correlation(bottom, top))


def contrast_of(
    bottom: float,
    top: float,
    bottom_interval: Interval | None,
    top_interval: Interval | None,
    rho: float = 0.0,
    rates: bool = True,
) -> Contrast:
    """Combine two rates and their intervals, all as fractions, by MOVER.

    Args:
        rho: correlation of the two estimated rates.
        rates: false for means such as delays: the difference is then in their unit, and there is
            no gap.
    """
    ends = None
    if bottom_interval is not None and top_interval is not None:
        ends = mover(bottom, top, bottom_interval, top_interval, rho)
    if not rates:
        return Contrast(bottom - top, ends, None, None)
    gap_interval = None
    if bottom_interval is not None and top_interval is not None and min(bottom, top) > 0:
        logs = [_log_ends(*bottom_interval), _log_ends(*top_interval)]
        found = mover(math.log(bottom), math.log(top), logs[0], logs[1], rho)
        gap_interval = Interval(*map(math.expm1, found)).percent()
    gap = 100 * (bottom - top) / top if top > 0 else None
    return Contrast(100 * (bottom - top), ends and ends.percent(), gap, gap_interval)


def _log_ends(low: float, high: float) -> Interval:
    return Interval(math.log(low), math.log(high))


def mover(a: float, b: float, a_ends: Interval, b_ends: Interval, rho: float = 0.0) -> Interval:
    """Compute the interval of a - b from the intervals of a and b.

    >>> mover(3.0, 0.0, Interval(0.0, 6.0), Interval(-4.0, 4.0))
    Interval(low=-2.0, high=8.0)
    """

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 + other**2 - 2 * rho * one * other))

    low = a - b - reach(a - a_ends.low, b_ends.high - b)
    return Interval(low, a - b + reach(a_ends.high - a, b - b_ends.low))


def correlation(a: SpeakerSums, b: SpeakerSums) -> float:
    """Correlation of two groups' rates, which comes from the speakers that both have."""
    position = {s: i for i, s in enumerate(a.speakers)}
    shared = [(position[s], i) for i, s in enumerate(b.speakers) if s in position]
    scale = math.sqrt(float((a.residuals_S**2).sum()) * float((b.residuals_S**2).sum()))
    if not shared or scale == 0:
        return 0.0
    at_a, at_b = map(list, zip(*shared, strict=True))
    product = float(a.residuals_S[at_a] @ b.residuals_S[at_b]) / scale
    return min(1.0, max(-1.0, product))


def simultaneous_interval(
    sums: SpeakerSums, critical: float, error: float, log: bool = True
) -> Interval:
    """Interval of a group's rate that holds together with those of all other groups.

    Args:
        critical: number of standard errors (`PermutationTest.critical`).
        error: standard error of the rate, or of its logarithm (`GroupSums.standard_errors`).
    """
    if not log:
        return Interval(sums.rate - critical * error, sums.rate + critical * error)
    if sums.errors == 0:
        return poisson_interval(0, sums.words, 1 - 2 * float(ndtr(-critical)))
    factor = math.exp(critical * error)
    return Interval(sums.rate / factor, sums.rate * factor)


def resample_sums(values_SK: np.ndarray, resampling: Resampling) -> np.ndarray:
    """Draw S speakers with replacement, R times, and sum the values of each draw.

    Returns:
        The sums, float64 (R, K).
    """
    rng, speakers = np.random.default_rng(resampling.seed), len(values_SK)
    values_SK = values_SK.astype(np.float64)
    at_a_time = max(1, _BLOCK // speakers)
    blocks = []
    for start in range(0, resampling.replicates, at_a_time):
        size = min(at_a_time, resampling.replicates - start)
        drawn_BS = rng.integers(speakers, size=(size, speakers))
        drawn_BS += speakers * np.arange(size)[:, None]
        counts_BS = np.bincount(drawn_BS.ravel(), minlength=size * speakers)
        blocks.append(counts_BS.reshape(size, speakers) @ values_SK)
    return np.concatenate(blocks)


def interval_of(values_R: np.ndarray, speakers: int, resampling: Resampling) -> Interval | None:
    """Compute the expanded percentile interval of drawn values.

    The percentile interval is too narrow for few speakers, as an interval would be that takes the
    normal quantile for Student's t and divides by S for S - 1. The expanded one moves its tails by
    both (Hesterberg, "What teachers should know about the bootstrap", The American Statistician
    2015). NaN and infinite values are ignored.

    Args:
        speakers: number of speakers on whom the values depend.

    Returns:
        The interval; None with fewer than two speakers, or without a finite value.
    """
    finite_R = values_R[np.isfinite(values_R)]
    if speakers < 2 or not len(finite_R):
        return None
    wide = math.sqrt(speakers / (speakers - 1)) * t_quantile(resampling.confidence, speakers - 1)
    tail = float(ndtr(-wide))
    low, high = np.quantile(finite_R, [tail, 1 - tail])
    return Interval(float(low), float(high))


@dataclass(frozen=True)
class GapChange(JsonRecord):
    """Change of the gap between two cohorts from system A to system B.

    Attributes:
        gap_a, gap_b: (bottom - top) / top of each system, in per cent; None without errors in top.
        change: gap of B minus gap of A, in points of per cent; below 0 the gap shrank.
        interval: its interval; None if a cohort has only one speaker.
        bottom_change, top_change: rate of B minus rate of A of each cohort, in percentage points.
        speakers: number of speakers that were drawn.
    """

    gap_a: float | None
    gap_b: float | None
    change: float | None
    interval: Interval | None
    bottom_change: float
    top_change: float
    speakers: int


def gap_change(
    a: Sequence[SpeakerSums], b: Sequence[SpeakerSums], resampling: Resampling = Resampling()
) -> GapChange:
    """Compute by how much a gap changes from system A to system B.

    One set of speaker draws serves both systems and both cohorts, so that neither a speaker who is
    difficult for both systems nor one who is in both cohorts is counted as two.

    Args:
        a, b: for each system the sums of the bottom and of the top cohort.

    Raises:
        ValueError: a cohort has other speakers in one system than in the other.
    """
    if any(x.speakers != y.speakers for x, y in zip(a, b, strict=True)):
        raise ValueError("both systems need the same speakers in each cohort")
    ids = sorted({s for sums in a for s in sums.speakers})
    position = {s: i for i, s in enumerate(ids)}
    values_SK = np.zeros((len(ids), 8))
    for k, sums in enumerate((*a, *b)):
        at = [position[s] for s in sums.speakers]
        values_SK[at, 2 * k], values_SK[at, 2 * k + 1] = sums.errors_S, sums.words_S
    gaps = _gaps(values_SK.sum(axis=0)[None])[0]
    fewest = min(sums.counted for sums in a)
    drawn_R2 = _gaps(resample_sums(values_SK, resampling)) if ids else np.zeros((0, 2))
    finite_R2 = drawn_R2[np.isfinite(drawn_R2).all(axis=1)]
    ends = interval_of(finite_R2[:, 1] - finite_R2[:, 0], fewest, resampling)
    known = bool(np.isfinite(gaps).all())
    gap_a, gap_b = (100 * float(g) if math.isfinite(g) else None for g in gaps)
    return GapChange(
        gap_a=gap_a,
        gap_b=gap_b,
        change=100 * float(gaps[1] - gaps[0]) if known else None,
        interval=ends.percent() if ends is not None and known else None,
        bottom_change=100 * (b[0].rate - a[0].rate),
        top_change=100 * (b[1].rate - a[1].rate),
        speakers=len(ids),
    )


def _gaps(sums_R8: np.ndarray) -> np.ndarray:
    """(bottom - top) / top of both systems; (R, 2), not finite where top has no error."""
    errors_R4, words_R4 = sums_R8[:, ::2], sums_R8[:, 1::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        rates_R4 = errors_R4 / words_R4
        return rates_R4[:, ::2] / rates_R4[:, 1::2] - 1

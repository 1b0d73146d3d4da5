"""Rates of groups of speakers, smoothed for ranking, and which groups form the bottom and the top.

Shapes: S speakers, K groups. Errors and words are float64 sums.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asrlib.json_record import JsonRecord
from asrlib.scoring.between_groups import group_variance, shrunken_rates

BOTTOM, MIDDLE, TOP = "bottom", "middle", "top"
# Where groups differ no more than by chance, the estimate of tau is 0 and all smoothed rates would
# be equal. A tau of at least this share of the overall rate keeps an order: by excess errors.
_LEAST_TAU = 0.1


@dataclass(frozen=True)
class CohortRate(JsonRecord):
    """A cohort on the speakers that it was found on.

    Attributes:
        cohort: its name.
        speakers: number of speakers.
        errors, words: sums over them.
        smoothed: the error rate as ranked, shrunken towards the rate of all speakers; a fraction.
    """

    cohort: str
    speakers: int
    errors: float
    words: float
    smoothed: float

    @property
    def rate(self) -> float:
        return self.errors / self.words if self.words else 0.0


@dataclass(frozen=True)
class GroupSums:
    """Sums of K groups of speakers."""

    speakers_K: np.ndarray
    errors_K: np.ndarray
    words_K: np.ndarray
    smoothed_K: np.ndarray

    def rate(self, name: str, members: Sequence[int]) -> CohortRate:
        """Return the cohort that consists of the groups `members`."""
        index = np.array(members, dtype=np.int64)
        words = self.words_K[index]
        smoothed = np.average(self.smoothed_K[index], weights=words) if words.sum() else 0.0
        return CohortRate(
            cohort=name,
            speakers=int(self.speakers_K[index].sum()),
            errors=float(self.errors_K[index].sum()),
            words=float(words.sum()),
            smoothed=float(smoothed),
        )


def sum_groups(
    group_S: np.ndarray,
    errors_S: np.ndarray,
    words_S: np.ndarray,
    K: int,
    least_tau: float = _LEAST_TAU,
) -> GroupSums:
    """Add up each group; a negative group number means that a speaker is in none.

    A group of few words has a rate that owes much to chance, so that the worst of many groups would
    be a small one. Rates are therefore smoothed as in a model with a random effect of the group:
    r + tau^2 / (tau^2 + v) (r_k - r), where the variance v of r_k is the variance between the
    speakers of a group, pooled over groups, and tau^2 is the moment estimate of DerSimonian and
    Laird (1986), at least (least_tau r)^2.
    """
    known_S = group_S >= 0
    group_S, errors_S, words_S = group_S[known_S], errors_S[known_S], words_S[known_S]
    speakers_K = np.bincount(group_S, minlength=K)
    errors_K, words_K = (
        np.bincount(group_S, sums_S, minlength=K).astype(np.float64)  # whole without speakers
        for sums_S in (errors_S, words_S)
    )
    return GroupSums(
        speakers_K,
        errors_K,
        words_K,
        _smooth(group_S, errors_S, words_S, errors_K, words_K, least_tau),
    )


def _smooth(
    group_S: np.ndarray,
    errors_S: np.ndarray,
    words_S: np.ndarray,
    errors_K: np.ndarray,
    words_K: np.ndarray,
    least_tau: float,
) -> np.ndarray:
    filled_K = words_K > 0
    rate_K = np.divide(errors_K, words_K, out=np.zeros_like(words_K), where=filled_K)
    total = errors_K.sum() / max(words_K.sum(), 1e-300)
    degrees = np.count_nonzero(words_S > 0) - np.count_nonzero(filled_K)
    if degrees < 1 or np.count_nonzero(filled_K) < 2:
        return rate_K
    residual_S = (errors_S - rate_K[group_S] * words_S) ** 2 / np.maximum(words_S, 1.0)
    variance = residual_S.sum() / degrees  # of a rate, times the number of words
    if variance <= 0:
        return rate_K
    error_K = np.sqrt(variance / words_K[filled_K])
    between = group_variance(rate_K[filled_K], error_K)
    tau2 = max((least_tau * total) ** 2, between.tau2)
    smoothed_K = np.full_like(rate_K, total)
    smoothed_K[filled_K] = shrunken_rates(
        rate_K[filled_K], error_K, dataclasses.replace(between, tau2=tau2)
    )
    return smoothed_K


def relative_gap(bottom: CohortRate, top: CohortRate) -> float | None:
    """Return (bottom - top) / top of the error rates; None if the top makes no error."""
    return (bottom.rate - top.rate) / top.rate if top.errors and top.words else None


def z_statistic(inside_S: np.ndarray, errors_S: np.ndarray, words_S: np.ndarray) -> float:
    """Return (rate inside - rate of the rest) / standard error of the rate inside.

    The standard error is linearised, with speakers as the sample. 0 if a side has no words or the
    rate inside has no standard error.
    """
    e, n = errors_S[inside_S], words_S[inside_S]
    rest_errors, rest_words = errors_S.sum() - e.sum(), words_S.sum() - n.sum()
    if len(e) < 2 or n.sum() <= 0 or rest_words <= 0:
        return 0.0
    rate = e.sum() / n.sum()
    se2 = len(e) / (len(e) - 1) * np.sum((e - rate * n) ** 2) / n.sum() ** 2
    return float((rate - rest_errors / rest_words) / np.sqrt(se2)) if se2 > 0 else 0.0


def merge_by_share(sums: GroupSums, bottom_share: float, top_share: float) -> tuple[str, ...]:
    """Name K groups bottom, middle or top, so that bottom and top have about their share.

    Groups join the bottom from the worst rate on, and the top from the best on, while that brings
    their share of the speakers nearer to the one wanted. Each gets at least one group.

    Returns:
        A name for each group; a group without speakers is in the middle. With fewer than two
        groups that have words, or with equal rates only, all are in the middle.
    """
    names = [MIDDLE] * len(sums.speakers_K)
    filled = np.flatnonzero(sums.words_K > 0)
    worst_first = filled[np.argsort(-sums.smoothed_K[filled], kind="stable")]
    if len(filled) < 2 or np.ptp(sums.smoothed_K[filled]) == 0:
        return tuple(names)
    total = sums.speakers_K.sum()
    for name, order, share in (
        (BOTTOM, worst_first[:-1], bottom_share),
        (TOP, worst_first[::-1][:-1], top_share),
    ):
        taken = 0
        for k in order:
            with_k = taken + sums.speakers_K[k]
            nearer = abs(with_k / total - share) < abs(taken / total - share)
            if names[k] != MIDDLE or (taken and not nearer):
                break
            names[k], taken = name, with_k
    return tuple(names)

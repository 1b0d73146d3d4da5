"""How unequal the groups of a column are: gap, ratio, spread, and the gap that chance gives.

Shapes: S speakers, P pairs of speakers, G groups, R replicates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from asrlib.scoring.gaps import mover
from asrlib.scoring.groups import UNKNOWN
from asrlib.scoring.speaker_sums import Interval, t_quantile
from asrlib.seeds import named_generator
from asrlib.verification.bootstrap import PairCounts, Replicated, combined
from asrlib.verification.groups import Column, Impostors
from asrlib.verification.measure import GroupFigures, Metric
from asrlib.verification.records import Disparity

Chance = tuple[float, float] | None  # 95th percentile of the gap, and p


def comparable(figures: Mapping[str, GroupFigures], metric: Metric) -> dict[str, Replicated]:
    """Return the groups that take part in the gap of a metric."""
    return {
        value: group.replicated[metric]
        for value, group in figures.items()
        if metric in group.replicated and group.rates.large_enough and value != UNKNOWN
    }


def disparity(
    groups: Mapping[str, Replicated], confidence: float, chance: Chance = None
) -> Disparity | None:
    """Compare the worst group with the best; None with fewer than two groups.

    Args:
        groups: figures of the groups, fractions.
        confidence: coverage of the intervals.
        chance: what `chance_gap` returned.
    """
    if len(groups) < 2:
        return None
    worst, best = worst_and_best(groups)
    high, low = groups[worst], groups[best]
    ends = gap_interval(high, low, confidence)
    return Disparity(
        worst=worst,
        best=best,
        gap=100 * (high.value - low.value),
        gap_interval=ends and ends.percent(),
        ratio=high.value / low.value if low.value > 0 else None,
        ratio_interval=_ratio_interval(high, low, confidence),
        spread=100 * spread(list(groups.values())).value,
        chance=None if chance is None else 100 * chance[0],
        p_value=None if chance is None else chance[1],
    )


def worst_and_best(groups: Mapping[str, Replicated]) -> tuple[str, str]:
    """Return the names of the groups with the highest and the lowest rate."""
    ranked = sorted(groups, key=lambda value: groups[value].value)
    return ranked[-1], ranked[0]


def spread(figures: Sequence[Replicated]) -> Replicated:
    """Compute the population standard deviation over groups, with its replicates."""
    replicates_GR = np.stack([f.value + f.deviations_R for f in figures])
    spread_R = replicates_GR.std(axis=0)
    value = float(np.std([f.value for f in figures]))
    # The deviations are widened already, so they are only centred here.
    return combined(figures, value, spread_R - spread_R.mean())


def gap_interval(high: Replicated, low: Replicated, confidence: float) -> Interval | None:
    """Compute the interval of the difference of two groups' rates from their own intervals.

    This is the method of variance estimates recovery (Newcombe 1998; Zou and Donner 2008), for two
    groups of different speakers. Unlike a symmetric interval it stays between -100 and 100 % and
    is not too narrow if a group has no error.

    Returns:
        The interval, in fractions; None if a group has fewer than two speakers.
    """
    ends_high, ends_low = high.rate_interval(confidence), low.rate_interval(confidence)
    if ends_high is None or ends_low is None:
        return None
    return mover(high.value, low.value, ends_high, ends_low)


def _ratio_interval(high: Replicated, low: Replicated, confidence: float) -> Interval | None:
    """Compute the interval of a ratio, symmetric on the logarithmic scale (delta method)."""
    speakers = min(high.speakers, low.speakers)
    if low.value <= 0 or speakers < 2:
        return None
    error = float((high.deviations_R / high.value - low.deviations_R / low.value).std())
    if not error:
        return None
    factor = math.exp(t_quantile(confidence, speakers - 1) * error)
    ratio = high.value / low.value
    return Interval(ratio / factor, ratio * factor)


def chance_gap(
    counts: PairCounts,
    column: Column,
    values: Sequence[str],
    metric: Metric,
    impostors: Impostors,
    permutations: int,
    seed: int,
) -> Chance:
    """Compute which gap appears if the speakers are regrouped at random.

    The groups keep their sizes. Speakers outside of `values` keep their group.

    Args:
        counts: errors at the one threshold.
        column: the groups.
        values: the groups that take part in the gap.
        metric: `misses` or `false_alarms`.
        impostors: which impostor trials belong to a group.
        permutations: number of regroupings.
        seed: seed of the regroupings.

    Returns:
        The 95th percentile of the gaps, and the share of regroupings (the given one included) with
        at least the gap of the given one.
    """
    target_P = counts.first_P == counts.second_P
    own = counts.keep(target_P if metric == "misses" else ~target_P)
    groups = [column.values.index(v) for v in values]
    members = np.flatnonzero(np.isin(column.group_S, groups))
    given = _gap(own, column.group_S, groups, impostors)
    rng = named_generator(seed, column.name, metric)
    gaps = []
    for _ in range(permutations):
        group_S = column.group_S.copy()
        group_S[members] = rng.permutation(group_S[members])
        gaps.append(_gap(own, group_S, groups, impostors))
    gaps_R = np.array(gaps)
    finite_R = gaps_R[np.isfinite(gaps_R)]
    if not len(finite_R):
        return None
    p = (1 + np.count_nonzero(finite_R >= given - 1e-12)) / (1 + len(finite_R))
    return float(np.quantile(finite_R, 0.95)), float(p)


def _gap(
    counts: PairCounts, group_S: np.ndarray, groups: Sequence[int], impostors: Impostors
) -> float:
    """Return the largest minus the smallest rate of the groups; NaN if one has no trial."""
    first_P = group_S[counts.first_P]
    if impostors == "same_group":
        first_P = np.where(first_P == group_S[counts.second_P], first_P, -1)
    size = int(group_S.max()) + 2
    errors_G = np.bincount(first_P + 1, counts.errors_P, minlength=size)[1:]
    trials_G = np.bincount(first_P + 1, counts.trials_P, minlength=size)[1:]
    if not all(trials_G[groups]):
        return math.nan
    rates = errors_G[groups] / trials_G[groups]
    return float(rates.max() - rates.min())

"""Detection error trade-off of scored trials: equal error rate, minimum detection cost, thresholds.

A trial is accepted if its score is at least the threshold. A miss is a target trial that is
rejected; a false alarm is an impostor trial that is accepted.

Shapes: T trials, K thresholds (each distinct score, and infinity).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr


@dataclass(frozen=True)
class DetCurve:
    """Errors at every threshold that makes a difference.

    Attributes:
        thresholds_K: the distinct scores, ascending, and infinity; float64.
        misses_K, false_alarms_K: numbers of errors at each threshold.
        targets, impostors: numbers of trials, both above zero.
    """

    thresholds_K: np.ndarray
    misses_K: np.ndarray
    false_alarms_K: np.ndarray
    targets: int
    impostors: int

    @property
    def miss_rates_K(self) -> np.ndarray:
        return self.misses_K / self.targets

    @property
    def false_alarm_rates_K(self) -> np.ndarray:
        return self.false_alarms_K / self.impostors

    def between(self, k: int) -> float:
        """Return a threshold halfway between the k-th and the score below it.

        It makes the same errors as the k-th, and rounding does not move a score across it.
        """
        scores = self.thresholds_K[:-1]
        if k == 0:
            return float(scores[0])
        above = scores[k] if k < len(scores) else scores[-1] + 2e-6
        return float((scores[k - 1] + above) / 2)


@dataclass(frozen=True)
class EqualErrors:
    """The point of a curve at which misses and false alarms are equally frequent.

    Attributes:
        rate: the equal error rate, a fraction, interpolated between two points of the curve.
        index: the point at which the two rates are closest.
    """

    rate: float
    index: int


def det_curve(scores_T: np.ndarray, target_T: np.ndarray) -> DetCurve | None:
    """Count the errors at every threshold; None without a target or without an impostor."""
    targets = int(np.count_nonzero(target_T))
    impostors = len(target_T) - targets
    if not targets or not impostors:
        return None
    order_T = np.argsort(scores_T, kind="stable")
    return sorted_curve(scores_T[order_T].astype(np.float64), target_T[order_T])


def sorted_curve(scores_T: np.ndarray, target_T: np.ndarray) -> DetCurve:
    """Count the errors at every threshold of trials in ascending order of their scores."""
    starts_K = np.flatnonzero(np.concatenate([[True], scores_T[1:] != scores_T[:-1]]))
    below_T = np.concatenate([[0], np.cumsum(target_T)])  # targets before each position
    targets = int(below_T[-1])
    impostors = len(scores_T) - targets
    ends_K = np.append(starts_K, len(scores_T))
    return DetCurve(
        thresholds_K=np.append(scores_T[starts_K], np.inf),
        misses_K=below_T[ends_K],
        false_alarms_K=impostors - (ends_K - below_T[ends_K]),
        targets=targets,
        impostors=impostors,
    )


def crossing(miss_K: np.ndarray, false_alarm_K: np.ndarray) -> tuple[float, int]:
    """Interpolate where the rising miss rate meets the falling false alarm rate.

    Returns:
        The common rate, and the index of the first point at which misses are not rarer.
    """
    difference_K = miss_K - false_alarm_K
    k = int(np.argmax(difference_K >= 0))
    below, above = difference_K[k - 1], difference_K[k]
    share = -below / (above - below)
    return float(miss_K[k - 1] + share * (miss_K[k] - miss_K[k - 1])), k


def equal_errors(curve: DetCurve) -> EqualErrors:
    """Find the equal error rate of a curve."""
    miss_K, false_alarm_K = curve.miss_rates_K, curve.false_alarm_rates_K
    rate, k = crossing(miss_K, false_alarm_K)
    near = abs(miss_K[k - 1] - false_alarm_K[k - 1]) < abs(miss_K[k] - false_alarm_K[k])
    return EqualErrors(rate, k - 1 if near else k)


def at_false_alarm(curve: DetCurve, rate: float) -> int:
    """Return the lowest point of the curve with at most this rate of false alarms."""
    return int(np.argmax(curve.false_alarm_rates_K <= rate))


def min_dcf(
    curve: DetCurve, p_target: float, cost_miss: float = 1.0, cost_false_alarm: float = 1.0
) -> float:
    """Return the lowest detection cost over all thresholds, as NIST normalises it.

    The cost is divided by that of the better of the two systems that accept all and none.
    """
    miss, false_alarm = cost_miss * p_target, cost_false_alarm * (1 - p_target)
    cost_K = miss * curve.miss_rates_K + false_alarm * curve.false_alarm_rates_K
    return float(cost_K.min() / min(miss, false_alarm))


def curve_points(curve: DetCurve) -> list[tuple[float, float]]:
    """Return some false alarm and miss rates in per cent, dense enough for a DET plot.

    The points are those at which a rate passes a value of a grid that is even on the axes of the
    plot, which are normal deviates.
    """
    grid = ndtr(np.linspace(-3.7, 3.7, 75))
    by_miss = np.searchsorted(curve.miss_rates_K, grid)
    by_false_alarm = np.searchsorted(-curve.false_alarm_rates_K, -grid)
    indices = np.unique(np.clip(np.concatenate([by_miss, by_false_alarm]), 0, None))
    return [
        (100 * float(curve.false_alarm_rates_K[k]), 100 * float(curve.miss_rates_K[k]))
        for k in indices[indices < len(curve.thresholds_K)]
    ]

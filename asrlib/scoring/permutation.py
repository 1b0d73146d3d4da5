"""Is any group worse than the rest, and how large a gap does chance alone show?

Units (speakers; utterances where cohorts share speakers) keep their errors and words, and the
cohorts are dealt anew among the units of each stratum. What holds if cohorts mean nothing is then
known exactly, whatever the distribution of the errors (Lehmann and Romano, "Testing Statistical
Hypotheses", 2005, section 15.2):

- The test statistic is the maximum over cohorts of (r_c - r_rest) / se_c. For residuals
  z_u = e_u - r n_u (r is the rate of the stratum) it equals the cohort's sum of z over the standard
  deviation that this sum has when cohorts are dealt at random. A cohort of one unit has such a
  deviation too.
- The null of the gap is the ratio of the worst to the best rate of dealt cohorts.
- Intervals of the gap between cohorts that the data picked need a larger critical value than one
  of Student's t. It is the 95th percentile of the largest |log r_i - log r_j| / se_ij over pairs of
  dealt cohorts (single-step max-T, Westfall and Young 1993); se_ij comes from the speaker model of
  `SpeakerVariation`, fitted to each deal by itself, so that the statistic is a pivot.

Shapes: U is the number of units, C of cohorts, P of permutations; K counts are summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asrlib.json_record import JsonRecord
from asrlib.scoring.speaker_sums import CONFIDENCE

PERMUTATIONS = 2_000
_BLOCK = 2_000_000  # units that are dealt at a time; it limits memory


@dataclass(frozen=True)
class PermutationTest(JsonRecord):
    """Result of the test "is any cohort worse than the rest?".

    Attributes:
        statistic: largest (r_c - r_rest) / se_c.
        null_95: 95th percentile of the statistic when cohorts are dealt at random.
        p_value: share of the permutations, the observed one included, that reach the statistic.
        null_ratio_95: 95th percentile of the ratio of the worst to the best rate when cohorts are
            dealt at random; None if the best of the dealt cohorts makes no error.
        critical: number of standard errors, on the logarithm of a rate, with which the intervals
            of all pairs of cohorts hold together; None if no cohort has two units.
    """

    statistic: float
    null_95: float
    p_value: float
    null_ratio_95: float | None
    critical: float | None
    permutations: int


class CohortSums(NamedTuple):
    """Sums over the units of each cohort; arrays (..., C), C cohorts.

    Attributes:
        errors, words: sums of e and n.
        errors2, cross, words2: sums of e^2, e n and n^2.
        units: numbers of units.
    """

    errors: np.ndarray
    words: np.ndarray
    errors2: np.ndarray
    cross: np.ndarray
    words2: np.ndarray
    units: np.ndarray

    @property
    def rates(self) -> np.ndarray:
        """Errors per word; 0 without words."""
        return self.errors / np.maximum(self.words, 1)

    def log_rates(self) -> np.ndarray:
        """Logarithms of the rates; a cohort without errors counts as half an error."""
        return np.log(np.maximum(self.errors, 0.5) / np.maximum(self.words, 1))

    def log_errors(self) -> np.ndarray:
        """Standard errors of `log_rates`, from the variation that all cohorts have together."""
        rates = self.rates
        units, groups = self.units.sum(-1), self.units.shape[-1]
        squares = self.errors2 - 2 * rates * self.cross + rates**2 * self.words2
        total = squares.sum(-1) * units / np.maximum(units - groups, 1)
        errors = np.maximum(self.errors.sum(-1), 0.5)
        scale = np.maximum((rates**2 * self.words2).sum(-1), np.finfo(np.float64).tiny)
        cv2 = np.maximum(0, total - errors) / scale
        dispersion = np.minimum(1, total / errors)
        sampling = dispersion[..., None] / np.maximum(self.errors, 0.5)
        return np.sqrt(sampling + cv2[..., None] * self.words2 / np.maximum(self.words, 1) ** 2)

    def largest_studentised_range(self) -> np.ndarray:
        """Largest |log r_i - log r_j| / se_ij over pairs of cohorts; (...)."""
        rates, variances = self.log_rates(), self.log_errors() ** 2
        largest = np.zeros(rates.shape[:-1])
        for shift in range(1, rates.shape[-1] // 2 + 1):
            difference = np.abs(rates - np.roll(rates, shift, axis=-1))
            spread = np.sqrt(variances + np.roll(variances, shift, axis=-1))
            ranges = np.divide(difference, spread, out=np.zeros_like(spread), where=spread > 0)
            largest = np.maximum(largest, ranges.max(axis=-1))
        return largest


def cohort_values(errors_U: np.ndarray, words_U: np.ndarray) -> np.ndarray:
    """Columns whose sums over cohorts are a `CohortSums`; (U, 6)."""
    one_U = np.ones_like(words_U)
    columns = (errors_U, words_U, errors_U**2, errors_U * words_U, words_U**2, one_U)
    return np.stack(columns, axis=1)


def permutation_test(
    errors_U: np.ndarray,
    words_U: np.ndarray,
    cohorts_U: Sequence[str] | np.ndarray,
    strata_U: Sequence[str] | np.ndarray | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 1,
    confidence: float = CONFIDENCE,
) -> PermutationTest:
    """Deal the cohorts anew among the units of each stratum, and compare.

    The result does not depend on the cohorts' names. It depends on the order of the units, so
    sort them by id.

    Args:
        errors_U, words_U: counts of each unit.
        cohorts_U: cohort of each unit; at least two different ones.
        strata_U: what a dealt unit keeps, such as (set, text); by default one stratum. Units that
            are utterances have their speaker as stratum.

    Raises:
        ValueError: there are fewer than two cohorts, or the lengths differ.
    """
    labels, codes_U = np.unique(np.asarray(cohorts_U), return_inverse=True)
    if len(labels) < 2 or not len(errors_U) == len(words_U) == len(codes_U):
        raise ValueError("a permutation test needs two cohorts, and one value for each unit")
    strata = np.zeros(len(codes_U)) if strata_U is None else np.asarray(strata_U)
    stratum_U = np.unique(strata, return_inverse=True)[1]
    residuals_U = _residuals(errors_U, words_U, stratum_U)
    deviations_C = _deviations(residuals_U, codes_U, stratum_U, len(labels))
    values_UK = np.column_stack([cohort_values(errors_U, words_U), residuals_U])
    observed_1CK = cohort_sums(values_UK, codes_U[None], len(labels))
    statistic_1, *_ = _statistics(observed_1CK, deviations_C)
    found = [
        _statistics(cohort_sums(values_UK, block_BU, len(labels)), deviations_C)
        for block_BU in deals(codes_U, stratum_U, permutations, seed)
    ]
    statistic_P, ratio_P, range_P = (np.concatenate(column) for column in zip(*found, strict=True))
    # A sum of floating-point numbers in another order must not count as smaller.
    reached = int(np.count_nonzero(statistic_P >= statistic_1[0] - 1e-9))
    ratio = float(np.quantile(ratio_P, 0.95, method="higher"))
    known = len(codes_U) > len(labels) and errors_U.sum() > 0
    return PermutationTest(
        statistic=float(statistic_1[0]),
        null_95=float(np.quantile(statistic_P, 0.95)),
        p_value=(1 + reached) / (1 + permutations),
        null_ratio_95=ratio if np.isfinite(ratio) else None,
        critical=float(np.quantile(range_P, confidence)) if known else None,
        permutations=permutations,
    )


def deals(
    codes_U: np.ndarray, strata_U: np.ndarray, permutations: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield cohorts of the units, dealt anew within strata, in blocks (B, U); P rows in all."""
    rng = np.random.default_rng(seed)
    order_U = np.argsort(strata_U, kind="stable")  # units by stratum
    sorted_U = strata_U[order_U]
    at_a_time = max(1, _BLOCK // len(codes_U))
    for start in range(0, permutations, at_a_time):
        size = min(at_a_time, permutations - start)
        # Random numbers below 1 leave every unit in its stratum's range.
        drawn_BU = np.argsort(sorted_U + rng.random((size, len(codes_U))), axis=1)
        block_BU = np.empty((size, len(codes_U)), dtype=np.int64)
        block_BU[:, order_U] = codes_U[order_U[drawn_BU]]
        yield block_BU


def cohort_sums(values_UK: np.ndarray, codes_BU: np.ndarray, cohorts: int) -> np.ndarray:
    """Sum each column over the units of each cohort; (B, C, K)."""
    size = len(codes_BU)
    cell_N = (codes_BU + cohorts * np.arange(size)[:, None]).ravel()
    columns = [
        np.bincount(cell_N, np.broadcast_to(column_U, codes_BU.shape).ravel(), size * cohorts)
        for column_U in values_UK.T
    ]
    return np.stack(columns, axis=1).reshape(size, cohorts, -1)


def _residuals(errors_U: np.ndarray, words_U: np.ndarray, stratum_U: np.ndarray) -> np.ndarray:
    """e - r n, each unit against the rate of its stratum."""
    errors, words = (np.bincount(stratum_U, x) for x in (errors_U, words_U))
    rates = np.divide(errors, words, out=np.zeros_like(errors), where=words > 0)
    return errors_U - rates[stratum_U] * words_U


def _deviations(
    residuals_U: np.ndarray, codes_U: np.ndarray, stratum_U: np.ndarray, cohorts: int
) -> np.ndarray:
    """Standard deviation of each cohort's sum of residuals when cohorts are dealt; (C,)."""
    strata = int(stratum_U.max()) + 1
    units_H = np.bincount(stratum_U, minlength=strata).astype(np.float64)
    means_H = np.bincount(stratum_U, residuals_U) / units_H
    squares_U = (residuals_U - means_H[stratum_U]) ** 2
    variances_H = np.bincount(stratum_U, squares_U) / np.maximum(units_H - 1, 1)
    cells = np.bincount(stratum_U * cohorts + codes_U, minlength=strata * cohorts)
    units_HC = cells.reshape(strata, cohorts)
    return np.sqrt(variances_H @ (units_HC * (1 - units_HC / units_H[:, None])))


def _statistics(
    sums_BCK: np.ndarray, deviations_C: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maximum statistic, ratio of worst to best rate, and largest studentised range; (B,) each."""
    *columns, residuals_BC = np.moveaxis(sums_BCK, -1, 0)
    sums = CohortSums(*columns)
    standard_BC = np.divide(
        residuals_BC, deviations_C, out=np.zeros_like(residuals_BC), where=deviations_C > 1e-12
    )
    worst_B, best_B = sums.rates.max(axis=-1), sums.rates.min(axis=-1)
    equal_B = worst_B == best_B
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_B = np.where(equal_B, 1.0, worst_B / best_B)
    return standard_BC.max(axis=-1), ratio_B, sums.largest_studentised_range()

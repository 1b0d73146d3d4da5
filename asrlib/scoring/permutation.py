"""Is any group worse than the rest, and how large a gap does chance alone show?

Speakers keep their errors and words, and the groups are dealt anew among the speakers of each
stratum. What holds if groups mean nothing is then known exactly, whatever the distribution of the
errors (Lehmann and Romano, "Testing Statistical Hypotheses", 2005, section 15.2):

- The test statistic is the maximum over groups of (r_c - r_rest) / se_c. For residuals
  z_u = e_u - r n_u (r is the rate of the stratum) it equals the group's sum of z over the standard
  deviation that this sum has when groups are dealt at random. A group of one speaker has such a
  deviation too.
- The null of the gap is the ratio of the worst to the best rate of dealt groups.
- Intervals of the gap between groups that the data picked need a larger critical value than that of
  Student's t. It is the 95th percentile of the largest |log r_i - log r_j| / se_ij over pairs of
  dealt groups (single-step max-T, Westfall and Young 1993); se_ij comes from the speaker model of
  `SpeakerVariation`, fitted to each deal by itself, so that the statistic is a pivot.

Units are the speakers of each group. Where groups of utterances share speakers, the units of such a
speaker are dealt among his or her own groups only.

Shapes: U is the number of units, C of groups, B of permutations at a time; K sums are taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from asrlib.json_record import JsonRecord
from asrlib.scoring.speaker_sums import CONFIDENCE, SpeakerSums

PERMUTATIONS = 2_000
_BLOCK = 2_000_000  # units that are dealt at a time; it limits memory


@dataclass(frozen=True)
class PermutationTest(JsonRecord):
    """Result of the test "is any group worse than the rest?".

    Rates are fractions.

    Attributes:
        statistic: largest (r_c - r_rest) / se_c; of the bottom group alone if it was named.
        null_statistic: 95th percentile of the statistic when groups are dealt at random.
        p_value: share of the permutations, the observed one included, that reach the statistic.
        null_ratio, null_difference: 95th percentiles of the ratio and the difference of the worst
            and the best rate (of bottom and top, if they were named) when groups are dealt at
            random; the ratio is None if the divisor of more than 5 % of the deals is zero.
        critical: number of standard errors with which the intervals of all pairs of groups hold
            together; None if no group has two speakers, or nobody makes an error.
        permutations: number of permutations.
    """

    statistic: float
    null_statistic: float
    p_value: float
    null_ratio: float | None
    null_difference: float
    critical: float | None
    permutations: int


@dataclass(frozen=True, eq=False)
class GroupSums:
    """Sums over the speakers of each group; arrays (..., C).

    Attributes:
        errors, words: sums of e and n.
        errors2, cross, words2: sums of e^2, e n and n^2.
        units: numbers of speakers.
        log: whether the rates are compared on the logarithm, as rates of errors are; delays, which
            may be below zero, are not.
    """

    errors: np.ndarray
    words: np.ndarray
    errors2: np.ndarray
    cross: np.ndarray
    words2: np.ndarray
    units: np.ndarray
    log: bool = True

    @classmethod
    def of(cls, groups: Mapping[str, SpeakerSums], log: bool = True) -> GroupSums:
        """The sums of these groups, in their order."""
        columns = [_columns(g.errors_S, g.words_S).sum(axis=0) for g in groups.values()]
        return cls(*np.array(columns).T, log=log)

    @property
    def rates(self) -> np.ndarray:
        """Errors per word; 0 without words."""
        return np.divide(
            self.errors, self.words, out=np.zeros_like(self.errors), where=self.words > 0
        )

    def centres(self) -> np.ndarray:
        """The rates, or their logarithms; a group without errors counts as half an error."""
        if not self.log:
            return self.rates
        return np.log(np.maximum(self.errors, 0.5) / np.maximum(self.words, 1))

    def standard_errors(self) -> np.ndarray:
        """Standard errors of `centres`, from the variation that the speakers of all groups have.

        On the logarithm this is the model of `SpeakerVariation`; otherwise the rates of speakers
        have one variance, whatever the number of their words.
        """
        rates = self.rates
        units, groups = self.units.sum(-1), self.units.shape[-1]
        squares = np.maximum(0, self.errors2 - 2 * rates * self.cross + rates**2 * self.words2)
        total = squares.sum(-1) * units / np.maximum(units - groups, 1)
        share = self.words2 / np.maximum(self.words, 1) ** 2
        if not self.log:
            return np.sqrt((total / self.words2.sum(-1))[..., None] * share)
        errors = np.maximum(self.errors.sum(-1), 0.5)
        scale = np.maximum((rates**2 * self.words2).sum(-1), np.finfo(np.float64).tiny)
        cv2 = np.maximum(0, total - errors) / scale
        dispersion = np.minimum(1, total / errors)
        sampling = dispersion[..., None] / np.maximum(self.errors, 0.5)
        return np.sqrt(sampling + cv2[..., None] * share)

    def largest_range(self) -> np.ndarray:
        """Largest |centre_i - centre_j| / se_ij over pairs of groups; (...)."""
        centres, variances = self.centres(), self.standard_errors() ** 2
        largest = np.zeros(centres.shape[:-1])
        for shift in range(1, centres.shape[-1] // 2 + 1):  # each pair of groups once, or twice
            difference = np.abs(centres - np.roll(centres, shift, axis=-1))
            spread = np.sqrt(variances + np.roll(variances, shift, axis=-1))
            ranges = np.divide(difference, spread, out=np.zeros_like(spread), where=spread > 0)
            largest = np.maximum(largest, ranges.max(axis=-1))
        return largest


@dataclass(frozen=True, eq=False)
class _Units:
    """Counts, group and stratum of each unit; groups are numbers."""

    errors_U: np.ndarray
    words_U: np.ndarray
    codes_U: np.ndarray
    stratum_U: np.ndarray

    @property
    def residuals_U(self) -> np.ndarray:
        """e - r n, each unit against the rate of its stratum."""
        errors, words = (np.bincount(self.stratum_U, x) for x in (self.errors_U, self.words_U))
        rates = np.divide(errors, words, out=np.zeros_like(errors), where=words > 0)
        return self.errors_U - rates[self.stratum_U] * self.words_U

    def deviations(self, groups: int) -> np.ndarray:
        """Standard deviation of each group's sum of residuals when groups are dealt; (C,)."""
        strata, z_U = int(self.stratum_U.max()) + 1, self.residuals_U
        units_H = np.bincount(self.stratum_U, minlength=strata).astype(np.float64)
        means_H = np.bincount(self.stratum_U, z_U) / units_H
        squares_H = np.bincount(self.stratum_U, (z_U - means_H[self.stratum_U]) ** 2)
        variances_H = squares_H / np.maximum(units_H - 1, 1)
        cells = np.bincount(self.stratum_U * groups + self.codes_U, minlength=strata * groups)
        units_HC = cells.reshape(strata, groups)
        return np.sqrt(variances_H @ (units_HC * (1 - units_HC / units_H[:, None])))


def permutation_test(
    groups: Mapping[str, SpeakerSums],
    strata: Mapping[str, str] | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 1,
    confidence: float = CONFIDENCE,
    named: tuple[str, str] | None = None,
    log: bool = True,
) -> PermutationTest:
    """Deal the groups anew among the speakers of each stratum, and compare.

    The result depends neither on the names of the groups nor on their order.

    Args:
        groups: sums by group, of at least two groups.
        strata: by speaker, what is kept, such as the set and the text that was read; by default
            all speakers form one stratum.
        named: bottom and top group, if they were chosen beforehand: then only these two are
            compared, and the test asks whether the bottom is worse than the rest.
        log: see `GroupSums`.

    Raises:
        ValueError: there are fewer than two groups.
    """
    if len(groups) < 2:
        raise ValueError("a permutation test needs two groups")
    units, names = _units(groups, strata), list(groups)
    at = None if named is None else (names.index(named[0]), names.index(named[1]))
    deviations_C = units.deviations(len(names))
    values_UK = np.column_stack([_columns(units.errors_U, units.words_U), units.residuals_U])

    def statistics(codes_BU: np.ndarray) -> tuple[np.ndarray, ...]:
        sums_BCK = _sums(values_UK, codes_BU, len(names))
        return _statistics(sums_BCK, deviations_C, at, log)

    observed, *_ = statistics(units.codes_U[None])
    blocks = _deals(units.codes_U, units.stratum_U, permutations, seed)
    found = [np.concatenate(x) for x in zip(*map(statistics, blocks), strict=True)]
    statistic_P, difference_P, ratio_P, range_P = found
    # A sum of floating-point numbers in another order must not count as smaller.
    reached = int(np.count_nonzero(statistic_P >= observed[0] - 1e-9))
    ratio = float(np.quantile(ratio_P, 0.95, method="higher"))
    known = len(units.codes_U) > len(names) and bool(np.any(units.errors_U))
    return PermutationTest(
        statistic=float(observed[0]),
        null_statistic=float(np.quantile(statistic_P, 0.95)),
        p_value=(1 + reached) / (1 + permutations),
        null_ratio=ratio if np.isfinite(ratio) else None,
        null_difference=float(np.quantile(difference_P, 0.95)),
        critical=float(np.quantile(range_P, confidence)) if known else None,
        permutations=permutations,
    )


def _units(groups: Mapping[str, SpeakerSums], strata: Mapping[str, str] | None) -> _Units:
    """The speakers of all groups, in an order that does not depend on the groups' names."""
    counted = Counter(s for sums in groups.values() for s in sums.speakers)
    rows = sorted(
        (speaker, errors, words, code)
        for code, sums in enumerate(groups.values())
        for speaker, errors, words in zip(
            sums.speakers, sums.errors_S.tolist(), sums.words_S.tolist(), strict=True
        )
    )
    keys = [
        (1, speaker) if counted[speaker] > 1 else (0, strata[speaker] if strata else "")
        for speaker, *_ in rows
    ]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    _, errors, words, codes = zip(*rows, strict=True)
    stratum_U = np.array([numbers[key] for key in keys])
    return _Units(np.array(errors), np.array(words), np.array(codes), stratum_U)


def _columns(errors_U: np.ndarray, words_U: np.ndarray) -> np.ndarray:
    """Columns whose sums over groups are the fields of `GroupSums`; (U, 6)."""
    one_U = np.ones_like(words_U)
    columns = (errors_U, words_U, errors_U**2, errors_U * words_U, words_U**2, one_U)
    return np.stack(columns, axis=1)


def _deals(
    codes_U: np.ndarray, stratum_U: np.ndarray, permutations: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield groups of the units, dealt anew within strata, in blocks (B, U)."""
    rng = np.random.default_rng(seed)
    order_U = np.argsort(stratum_U, kind="stable")  # units by stratum
    sorted_U = stratum_U[order_U]
    at_a_time = max(1, _BLOCK // len(codes_U))
    for start in range(0, permutations, at_a_time):
        size = min(at_a_time, permutations - start)
        # Random numbers below 1 leave every unit in its stratum's range.
        drawn_BU = np.argsort(sorted_U + rng.random((size, len(codes_U))), axis=1)
        block_BU = np.empty((size, len(codes_U)), dtype=np.int64)
        block_BU[:, order_U] = codes_U[order_U[drawn_BU]]
        yield block_BU


def _sums(values_UK: np.ndarray, codes_BU: np.ndarray, groups: int) -> np.ndarray:
    """Sum each column over the units of each group; (B, C, K)."""
    size = len(codes_BU)
    cell_N = (codes_BU + groups * np.arange(size)[:, None]).ravel()
    columns = [
        np.bincount(cell_N, np.broadcast_to(column_U, codes_BU.shape).ravel(), size * groups)
        for column_U in values_UK.T
    ]
    return np.stack(columns, axis=1).reshape(size, groups, -1)


def _statistics(
    sums_BCK: np.ndarray, deviations_C: np.ndarray, named: tuple[int, int] | None, log: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Statistic, difference and ratio of two rates, and largest studentised range; (B,) each."""
    *columns, residuals_BC = np.moveaxis(sums_BCK, -1, 0)
    sums = GroupSums(*columns, log=log)
    standard_BC = np.divide(
        residuals_BC, deviations_C, out=np.zeros_like(residuals_BC), where=deviations_C > 1e-12
    )
    if named is None:
        statistic_B = standard_BC.max(axis=-1)
        worst_B, best_B = sums.rates.max(axis=-1), sums.rates.min(axis=-1)
    else:
        statistic_B = standard_BC[:, named[0]]
        worst_B, best_B = (sums.rates[:, c] for c in named)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_B = np.where(worst_B == best_B, 1.0, worst_B / best_B)
    return statistic_B, worst_B - best_B, ratio_B, sums.largest_range()

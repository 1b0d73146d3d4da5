"""What the methods have in common: a search among discovery speakers, and its null distribution.

Shapes: S discovery speakers that take part in a search, R permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from asrlib.cohorts.ranking import (
    BOTTOM,
    TOP,
    CohortRate,
    GroupSums,
    relative_gap,
    z_statistic,
)
from asrlib.cohorts.table import SpeakerTable
from asrlib.json_record import JsonRecord
from asrlib.scoring.groups import UNKNOWN


@dataclass(frozen=True)
class Assignment:
    """The cohort of each speaker of a table.

    Attributes:
        cohorts: names; `unknown` where the rule cannot tell.
        used: what the rule looked at, for cohorts.jsonl: coordinates, an attribute, a distance.
        reasons: why a cohort is unknown, such as "no coordinates"; "" for the others.
    """

    cohorts: tuple[str, ...]
    used: tuple[dict[str, Any], ...]
    reasons: tuple[str, ...]

    def unknown(self) -> dict[str, int]:
        """Count the speakers without a cohort by reason."""
        reasons = [r for r, c in zip(self.reasons, self.cohorts, strict=True) if c == UNKNOWN]
        return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


class Rule(Protocol):
    """How a method assigns a speaker: plain data, which definition.json holds."""

    def assign(self, table: SpeakerTable) -> Assignment:
        """Assign each speaker of the table by metadata or embedding, never by errors."""
        ...


@dataclass(frozen=True)
class Candidate:
    """What a search found with one set of errors.

    Attributes:
        group_S: the group of each speaker of the search; -1: none.
        names: the cohort of each group; exactly one is `bottom`-named and one `top`-named, though
            each may name several groups.
        sums: sums of the groups.
        model: what the method found, from which `rule` makes a rule.
        statistic: the method's own test statistic; None: that of `z_statistic`.
    """

    group_S: np.ndarray
    names: tuple[str, ...]
    sums: GroupSums
    model: Any
    statistic: float | None = None

    def cohort(self, name: str) -> CohortRate:
        """Return the sums of the groups of that name."""
        return self.sums.rate(name, [k for k, n in enumerate(self.names) if n == name])

    def cohorts(self) -> tuple[CohortRate, ...]:
        """Return all cohorts, the worst first."""
        rates = [self.cohort(name) for name in dict.fromkeys(self.names)]
        return tuple(
            sorted(rates, key=lambda r: (r.cohort != BOTTOM, r.cohort == TOP, -r.smoothed))
        )


class Search(Protocol):
    """A method that is prepared for the speakers of discovery; it has seen no errors yet."""

    def find(self, errors_S: np.ndarray, words_S: np.ndarray) -> Candidate | None:
        """Find cohorts; None if there is no bottom and top to tell apart."""
        ...

    def rule(self, candidate: Candidate) -> Rule:
        """Return the rule that assigns speakers as the candidate does."""
        ...


class CannotSearch(Exception):
    """A method lacks what it needs, such as coordinates; the message is a sentence."""


@dataclass(frozen=True)
class Evidence(JsonRecord):
    """How the cohorts that a search found compare with those of permuted errors.

    Attributes:
        gap: (bottom - top) / top of the error rates on discovery speakers; None if the top makes
            no error. It is inflated, because it was searched for.
        statistic: the test statistic; larger is more unequal.
        permutations: number of times that the errors and words of speakers were permuted over the
            speakers' places, attributes or voices, and the search repeated.
        p_value: share of the searches, the real one included, with at least this statistic; None
            without permutations.
        null_gap_95: 95th percentile of the gaps of the permuted searches, 0 where one found
            nothing; None without permutations or if it is infinite.
    """

    gap: float | None
    statistic: float
    permutations: int
    p_value: float | None
    null_gap_95: float | None


def statistic_of(candidate: Candidate, errors_S: np.ndarray, words_S: np.ndarray) -> float:
    """Return the test statistic of a candidate."""
    if candidate.statistic is not None:
        return candidate.statistic
    bottom_K = np.array([name == BOTTOM for name in candidate.names])
    inside_S = bottom_K[candidate.group_S] & (candidate.group_S >= 0)
    return z_statistic(inside_S, errors_S, words_S)


def weigh(
    search: Search,
    candidate: Candidate,
    errors_S: np.ndarray,
    words_S: np.ndarray,
    permutations: int,
    seed: int | Sequence[int],
) -> Evidence:
    """Repeat the search with permuted (errors, words) and compare."""
    gap = relative_gap(candidate.cohort(BOTTOM), candidate.cohort(TOP))
    found = statistic_of(candidate, errors_S, words_S)
    if not permutations:
        return Evidence(gap, found, 0, None, None)
    rng = np.random.default_rng(seed)
    statistics, gaps = [], []
    for _ in range(permutations):
        order_S = rng.permutation(len(errors_S))
        e, n = errors_S[order_S], words_S[order_S]
        null = search.find(e, n)
        statistics.append(0.0 if null is None else statistic_of(null, e, n))
        null_gap = relative_gap(null.cohort(BOTTOM), null.cohort(TOP)) if null else 0.0
        gaps.append(np.inf if null_gap is None else null_gap)
    at_least = np.count_nonzero(np.array(statistics) >= found)
    limit = float(np.quantile(gaps, 0.95, method="higher"))
    return Evidence(
        gap,
        found,
        permutations,
        (1 + at_least) / (1 + permutations),
        limit if np.isfinite(limit) else None,
    )

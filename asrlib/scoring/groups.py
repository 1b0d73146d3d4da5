"""Error rates by group of speakers, in the shape of a metric frame: overall, by group, gap.

A group is a value of a column of speakers.tsv; numeric columns are cut into bands. Each group has
its own speaker bootstrap; the gap is the worst group against the best, as ratio and as difference,
with the interval of those two groups. Which groups are worst and best is read off the same data, so
the gap of many groups is somewhat too large: a finding is confirmed on other speakers.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from asrlib.scoring.bootstrap import (
    Interval,
    Resampling,
    interval_of,
    replicate_rates,
    speaker_interval,
)
from asrlib.scoring.wer import ErrorRate
from asrlib.seeds import group_seed

UNKNOWN = "unknown"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """Speakers that share a value.

    Attributes:
        large_enough: has the words and speakers asked for; else it takes no part in the gap.
    """

    value: str
    speakers: int
    errors: ErrorRate
    interval: Interval | None
    large_enough: bool


@dataclass(frozen=True)
class Gap:
    """The worst group against the best; ratio and its interval are None where best is 0."""

    best: str
    worst: str
    difference: float
    difference_interval: Interval | None
    ratio: float | None
    ratio_interval: Interval | None


@dataclass(frozen=True)
class GroupTable:
    """One column's groups, in order of value (bands in order of size, unknown last)."""

    column: str
    groups: tuple[Group, ...]
    gap: Gap | None

    def to_json(self) -> dict[str, Any]:
        return {
            "groups": [
                {
                    "value": g.value,
                    "speakers": g.speakers,
                    "errors": g.errors.to_json(),
                    "interval": g.interval and g.interval.percent(),
                    "large_enough": g.large_enough,
                }
                for g in self.groups
            ],
            "gap": self.gap and _gap_json(self.gap),
        }


def _gap_json(gap: Gap) -> dict[str, Any]:
    ratio = gap.ratio_interval
    return {
        "best": gap.best,
        "worst": gap.worst,
        "difference": 100 * gap.difference,
        "difference_interval": gap.difference_interval and gap.difference_interval.percent(),
        "ratio": gap.ratio,
        "ratio_interval": ratio and [ratio.low, ratio.high],
    }


def group_tables(
    errors: Mapping[str, ErrorRate],
    speakers: Mapping[str, Mapping[str, str]],
    columns: Sequence[str],
    bands: Mapping[str, Sequence[float]],
    resampling: Resampling,
    min_speakers: int = 1,
    min_words: int = 1,
) -> list[GroupTable]:
    """Tables of the columns that the speaker table has; absent ones are skipped and logged.

    Args:
        errors: word counts of each speaker.
        speakers: metadata of each speaker.
        columns: columns of the speaker table to group by.
        bands: ascending edges of the columns that hold numbers.
        min_speakers, min_words: what a group needs to take part in the gap.
    """
    tables = []
    for column in columns:
        values = {s: speakers.get(s, {}).get(column, "") for s in errors}
        if not any(values.values()):
            log.info("groups: no speaker has a value of '%s': skipped", column)
            continue
        members: dict[str, dict[str, ErrorRate]] = {}
        for speaker, value in values.items():
            name = band(value, bands[column]) if column in bands else value or UNKNOWN
            members.setdefault(name, {})[speaker] = errors[speaker]
        order = [*band_names(bands[column])] if column in bands else sorted(members)
        order = [v for v in order if v in members and v != UNKNOWN]
        order += [UNKNOWN] if UNKNOWN in members else []
        tables.append(
            _table(column, {v: members[v] for v in order}, resampling, min_speakers, min_words)
        )
    return tables


def band_names(edges: Sequence[float]) -> list[str]:
    """Names of the bands between ascending edges, lower edge included.

    >>> band_names([10, 16])
    ['<10', '10-<16', '>=16']
    """
    text = [f"{e:g}" for e in edges]
    middle = [f"{a}-<{b}" for a, b in itertools.pairwise(text)]
    return [f"<{text[0]}", *middle, f">={text[-1]}"]


def band(value: str, edges: Sequence[float]) -> str:
    """The band in which a number lies; `unknown` when it is no number."""
    try:
        number = float(value)
    except ValueError:
        return UNKNOWN
    if math.isnan(number):
        return UNKNOWN
    return band_names(edges)[int(np.searchsorted(edges, number, side="right"))]


def _table(
    column: str,
    members: Mapping[str, Mapping[str, ErrorRate]],
    resampling: Resampling,
    min_speakers: int,
    min_words: int,
) -> GroupTable:
    groups = []
    for value, speakers in members.items():
        total = ErrorRate.sum(speakers.values())
        large = len(speakers) >= min_speakers and total.words >= max(min_words, 1)
        interval = speaker_interval(speakers, _own_seed(resampling, value))
        groups.append(Group(value, len(speakers), total, interval, large and value != UNKNOWN))
    ranked = sorted((g for g in groups if g.large_enough), key=lambda g: g.errors.rate)
    gap = None
    if len(ranked) > 1:
        best, worst = ranked[0].value, ranked[-1].value
        gap = _gap(best, members[best], worst, members[worst], resampling)
    return GroupTable(column, tuple(groups), gap)


def _own_seed(resampling: Resampling, value: str) -> Resampling:
    """Speakers of two groups are resampled independently: each group has draws of its own."""
    return replace(resampling, seed=group_seed(resampling.seed, value))


def _gap(
    best: str,
    best_speakers: Mapping[str, ErrorRate],
    worst: str,
    worst_speakers: Mapping[str, ErrorRate],
    resampling: Resampling,
) -> Gap:
    low = ErrorRate.sum(best_speakers.values()).rate
    high = ErrorRate.sum(worst_speakers.values()).rate
    difference_interval = ratio_interval = None
    if min(len(best_speakers), len(worst_speakers)) > 1:
        low_R = replicate_rates(best_speakers, _own_seed(resampling, best))
        high_R = replicate_rates(worst_speakers, _own_seed(resampling, worst))
        difference_interval = interval_of(high_R - low_R, resampling)
        # A bound of a ratio is told only where the best group errs in every replicate.
        if np.all(low_R > 0):
            ratio_interval = interval_of(high_R / low_R, resampling)
    ratio = high / low if low > 0 else None
    return Gap(best, worst, high - low, difference_interval, ratio, ratio_interval)

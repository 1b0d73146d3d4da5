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

import numpy as np

from asrlib.json_record import JsonRecord
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
class Group(JsonRecord):
    """Speakers that share a value.

    Attributes:
        interval: of the error rate, in per cent; None with fewer than two speakers.
        large_enough: has the words and speakers asked for; else it takes no part in the gap.
    """

    value: str
    speakers: int
    errors: ErrorRate
    interval: Interval | None
    large_enough: bool


@dataclass(frozen=True)
class Gap(JsonRecord):
    """The worst group against the best.

    Attributes:
        best, worst: values of the two groups.
        difference, difference_interval: of their error rates, in percentage points.
        ratio, ratio_interval: of their error rates; None where the best group makes no error.
    """

    best: str
    worst: str
    difference: float
    difference_interval: Interval | None
    ratio: float | None
    ratio_interval: Interval | None


@dataclass(frozen=True)
class GroupTable(JsonRecord):
    """One column's groups, in order of value (bands in order of size, unknown last)."""

    groups: tuple[Group, ...]
    gap: Gap | None


def group_tables(
    errors: Mapping[str, ErrorRate],
    speakers: Mapping[str, Mapping[str, str]],
    columns: Sequence[str],
    bands: Mapping[str, Sequence[float]],
    resampling: Resampling,
    min_speakers: int = 1,
    min_words: int = 1,
) -> dict[str, GroupTable]:
    """Tables by column, of those that the speaker table has; absent ones are skipped and logged.

    Args:
        errors: word counts of each speaker.
        speakers: metadata of each speaker.
        columns: columns of the speaker table to group by.
        bands: ascending edges of the columns that hold numbers.
        min_speakers, min_words: what a group needs to take part in the gap.
    """
    tables = {}
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
        ordered = {value: members[value] for value in order}
        tables[column] = _table(ordered, resampling, min_speakers, min_words)
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
        ends = interval and interval.percent()
        groups.append(Group(value, len(speakers), total, ends, large and value != UNKNOWN))
    ranked = sorted((g for g in groups if g.large_enough), key=lambda g: g.errors.rate)
    gap = None
    if len(ranked) > 1:
        best, worst = ranked[0].value, ranked[-1].value
        gap = _gap(best, members[best], worst, members[worst], resampling)
    return GroupTable(tuple(groups), gap)


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
        ends = interval_of(high_R - low_R, resampling)
        difference_interval = ends and ends.percent()
        # A bound of a ratio is told only where the best group errs in every replicate.
        if np.all(low_R > 0):
            ratio_interval = interval_of(high_R / low_R, resampling)
    ratio = high / low if low > 0 else None
    difference = 100 * (high - low)
    return Gap(best, worst, difference, difference_interval, ratio, ratio_interval)

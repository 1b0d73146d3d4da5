"""Error rates by group of speakers, and the gap between the worst and the best group.

A group is the set of speakers that share a value in a column of speakers.tsv; numeric columns are
divided into bands. The speakers of each group are resampled separately. The gap compares the worst
group with the best one, as a ratio and as a difference, with the interval for these two groups.

Limitation: the same data select the worst and the best group, so the gap between many groups is
somewhat too large. Confirm a finding on other speakers.
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
    """Speakers that share a value of a column.

    Attributes:
        value: the common value, or the name of the band.
        speakers: number of speakers.
        errors: word error counts of the group.
        interval: interval of the error rate, in per cent; None with fewer than two speakers.
        large_enough: whether the group has the required numbers of speakers and words; a smaller
            group is left out of the gap.
    """

    value: str
    speakers: int
    errors: ErrorRate
    interval: Interval | None
    large_enough: bool


@dataclass(frozen=True)
class Gap(JsonRecord):
    """Comparison of the worst group with the best one.

    Attributes:
        best, worst: values of the two groups.
        difference: error rate of the worst group minus that of the best, in percentage points.
        difference_interval: interval of the difference; None if a group has only one speaker.
        ratio: error rate of the worst group divided by that of the best; None if the best group
            makes no error.
        ratio_interval: interval of the ratio; None if a group has only one speaker, or if the best
            group makes no error in some replicate.
    """

    best: str
    worst: str
    difference: float
    difference_interval: Interval | None
    ratio: float | None
    ratio_interval: Interval | None


@dataclass(frozen=True)
class GroupTable(JsonRecord):
    """The groups of one column, sorted by value; bands are in ascending order, unknown is last.

    Attributes:
        gap: None if fewer than two groups are large enough.
    """

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
    """Compute a table of groups for each column of the speaker table.

    Columns without any value are skipped, with a line in the log.

    Args:
        errors: word error counts of each speaker.
        speakers: metadata of each speaker.
        columns: columns of the speaker table to group by.
        bands: ascending band edges, for each column that contains numbers.
        min_speakers, min_words: smallest numbers of speakers and of reference words with which a
            group takes part in the gap.

    Returns:
        The tables by column.
    """
    tables = {}
    for column in columns:
        values = {s: speakers.get(s, {}).get(column, "") for s in errors}
        if not any(values.values()):
            log.info("groups: column '%s' is skipped: no speaker has a value in it", column)
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
    """Name the bands between ascending edges; a band includes its lower edge.

    >>> band_names([10, 16])
    ['<10', '10-<16', '>=16']
    """
    text = [f"{e:g}" for e in edges]
    middle = [f"{a}-<{b}" for a, b in itertools.pairwise(text)]
    return [f"<{text[0]}", *middle, f">={text[-1]}"]


def band(value: str, edges: Sequence[float]) -> str:
    """Find the band that contains a number; return `unknown` if the value is not a number."""
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
    """Derive a seed for each group, so that the speakers of two groups are drawn independently."""
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
        # The ratio has an interval only if the best group makes an error in every replicate.
        if np.all(low_R > 0):
            ratio_interval = interval_of(high_R / low_R, resampling)
    ratio = high / low if low > 0 else None
    difference = 100 * (high - low)
    return Gap(best, worst, difference, difference_interval, ratio, ratio_interval)

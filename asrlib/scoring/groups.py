"""Error rates by group of speakers, and the gap between the worst and the best group.

A group is the set of speakers that share a value in a column of speakers.tsv; numeric columns are
divided into bands. The data themselves pick the worst and the best group, so that a gap between
many groups is too large. Therefore it is never given without

- an interval that holds for all pairs of groups together (`PermutationTest.critical`),
- the gap that chance alone shows between such groups (95th percentile over permutations),
- the smallest gap that these groups could show.

Confirm a finding on other speakers (`asrlib.scoring.confirmation`).
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asrlib.json_record import JsonRecord
from asrlib.scoring.between_groups import (
    detectable_difference,
    detectable_gap,
    fit_variation,
)
from asrlib.scoring.gaps import Resampling, contrast_of, correlation, simultaneous_interval
from asrlib.scoring.permutation import GroupSums, permutation_test
from asrlib.scoring.speaker_sums import Interval, SpeakerSums, speaker_interval
from asrlib.scoring.wer import ErrorRate

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


@dataclass(frozen=True, kw_only=True)
class Gap(JsonRecord):
    """The worst of several groups against the best.

    A measure that is no rate of errors, such as a delay, has a difference in its own unit and no
    gap; its worst group is the one with the highest value.

    Attributes:
        best, worst: names of the two groups.
        groups: number of groups among which they were picked.
        difference: error rate of the worst group minus that of the best, in percentage points.
        difference_interval: interval of the difference that holds for all pairs of groups; None
            if no group has two speakers.
        null_difference: 95th percentile of the difference if groups mean nothing.
        gap: (worst - best) / best, in per cent; None if the best group makes no error.
        gap_interval: its interval, as of the difference; None if the best group makes no error.
        null_gap: 95th percentile of the gap if groups mean nothing; None if the best group of
            more than 5 % of the permutations makes no error.
        p_value: of the hypothesis "no group is worse than the rest", by permutation of speakers.
        detectable: the smallest gap (of a measure that is no rate of errors, the smallest
            difference) between groups of these sizes that would show with a probability of 80 %;
            None if none would.
    """

    best: str
    worst: str
    groups: int
    difference: float
    difference_interval: Interval | None
    null_difference: float
    gap: float | None
    gap_interval: Interval | None
    null_gap: float | None
    p_value: float
    detectable: float | None


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

    Columns without any value are skipped, see `tell_skipped`.

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
            tell_skipped(column, speakers)
            continue
        edges = bands.get(column)
        members: dict[str, dict[str, ErrorRate]] = {}
        for speaker, name in zip(values, names_of(values.values(), edges), strict=True):
            members.setdefault(name, {})[speaker] = errors[speaker]
        ordered = {name: members[name] for name in in_order(members, edges)}
        tables[column] = _table(ordered, resampling, min_speakers, min_words)
    return tables


def tell_skipped(column: str, speakers: Mapping[str, Mapping[str, str]]) -> None:
    """Log that a column has no value; in debugging only if the table does not have it at all.

    `conf/score.yaml` names the columns of many corpora, of which each has some.
    """
    known = any(column in row for row in speakers.values())
    level = logging.INFO if known else logging.DEBUG
    log.log(level, "groups: column '%s' is skipped: no speaker has a value in it", column)


def names_of(values: Iterable[str], edges: Sequence[float] | None) -> tuple[str, ...]:
    """Name the group of each value of a column: `unknown` where there is none.

    Args:
        values: the values.
        edges: ascending band edges of a column of numbers, whose groups are bands.
    """
    if edges is None:
        return tuple(value or UNKNOWN for value in values)
    return tuple(band(value, edges) for value in values)


def in_order(names: Collection[str], edges: Sequence[float] | None) -> list[str]:
    """Return the groups of a column in order: bands ascend, others are sorted, unknown is last."""
    order = sorted(set(names) - {UNKNOWN}) if edges is None else band_names(edges)
    return [name for name in (*order, UNKNOWN) if name in names]


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
        interval = speaker_interval(speakers, resampling.confidence)
        ends = interval and interval.percent()
        groups.append(Group(value, len(speakers), total, ends, large and value != UNKNOWN))
    compared = {g.value: SpeakerSums.of(members[g.value]) for g in groups if g.large_enough}
    return GroupTable(tuple(groups), gap_between(compared, resampling))


def gap_between(
    groups: Mapping[str, SpeakerSums],
    resampling: Resampling,
    strata: Mapping[str, str] | None = None,
    log: bool = True,
) -> Gap | None:
    """Compare the worst of several groups with the best.

    Args:
        groups: sums by group; all have words. Groups of utterances may share speakers.
        strata: by speaker, what is kept when speakers are permuted among groups, such as the
            text that they read; by default all speakers form one stratum.
        log: true for rates of errors; false for means, such as delays (see `GroupSums`).

    Returns:
        The gap; None with fewer than two groups.
    """
    if len(groups) < 2:
        return None
    ranked = sorted(groups, key=lambda g: (groups[g].rate, g))
    best, worst = groups[ranked[0]], groups[ranked[-1]]
    test = permutation_test(
        groups, strata, resampling.permutations, resampling.seed, resampling.confidence, log=log
    )
    errors = dict(zip(groups, GroupSums.of(groups, log).standard_errors().tolist(), strict=True))
    best_ends, worst_ends = (
        None
        if test.critical is None
        else simultaneous_interval(groups[g], test.critical, errors[g], log)
        for g in (ranked[0], ranked[-1])
    )
    found = contrast_of(worst.rate, best.rate, worst_ends, best_ends, correlation(worst, best), log)
    if log:
        smallest = _detectable(groups, worst, best, test.critical)
    else:
        reach = math.hypot(errors[ranked[0]], errors[ranked[-1]])
        smallest = test.critical and detectable_difference(reach, test.critical)
    return Gap(
        best=ranked[0],
        worst=ranked[-1],
        groups=len(groups),
        difference=found.difference,
        difference_interval=found.difference_interval,
        null_difference=(100 if log else 1) * test.null_difference,
        gap=found.gap,
        gap_interval=found.gap_interval,
        null_gap=100 * (test.null_ratio - 1) if log and test.null_ratio is not None else None,
        p_value=test.p_value,
        detectable=smallest,
    )


def _detectable(
    groups: Mapping[str, SpeakerSums], worst: SpeakerSums, best: SpeakerSums, critical: float | None
) -> float | None:
    """Smallest gap in per cent, at the rate of all groups together."""
    variation = fit_variation([*groups.values()])
    if variation is None:
        return None
    rate = sum(g.errors for g in groups.values()) / sum(g.words for g in groups.values())
    gap = detectable_gap(variation, rate, worst.words_S, best.words_S, critical=critical)
    return None if gap is None else 100 * gap


def gap_text(gap: Gap) -> str:
    """Say what a gap is, with its interval, what chance shows, and what would show."""
    who = f"{gap.worst} against {gap.best}"
    if gap.gap is None:
        ends = "[{:+.2f}, {:+.2f}]".format(*gap.difference_interval or (math.nan,) * 2)
        size, chance = f"{gap.difference:+.2f} {ends}", f"{gap.null_difference:+.2f}"
    else:
        ends = "[{:+.0f}, {:+.0f}]".format(*gap.gap_interval or (math.nan,) * 2)
        size = f"{gap.gap:+.0f} % {ends}"
        chance = "any" if gap.null_gap is None else f"{gap.null_gap:+.0f} %"
    power = "none" if gap.detectable is None else f"{gap.detectable:+.0f} %"
    return f"{who}: {size}, chance up to {chance}, p = {gap.p_value:.4f}, detectable {power}"

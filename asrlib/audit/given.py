"""Groups given beforehand: the columns of the speaker table, and their pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from statsmodels.stats.multitest import multipletests

from asrlib.audit.record import GivenGroups
from asrlib.cohorts.metadata import values_of
from asrlib.cohorts.table import SpeakerTable
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.groups import UNKNOWN, GroupTable, group_tables
from asrlib.scoring.wer import ErrorRate

_RATES = 100  # speakers of a group whose rates are kept for drawing
_LEAST_SPEAKERS = (3, 10)  # of a group that takes part in a gap: a tenth of all, within these
_LEAST_WORDS = 50


def given_groups(
    table: SpeakerTable,
    errors: Mapping[str, ErrorRate],
    columns: Sequence[str],
    bands: Mapping[str, Sequence[float]],
    resampling: Resampling,
) -> tuple[GivenGroups, ...]:
    """Compare the groups of each column and of each pair; p-values are corrected over all."""
    named = {c: values_of(table, c, bands) for c in columns}
    found = []
    for names in [*((c,) for c in columns), *itertools.combinations(columns, 2)]:
        rows = zip(*(named[c] for c in names), strict=True)
        values = [UNKNOWN if UNKNOWN in row else ", ".join(row) for row in rows]
        if len({v for v in values if v != UNKNOWN}) < 2:
            continue  # a single value is no comparison, and a pair with it repeats the other column
        group_of = dict(zip(table.speakers, values, strict=True))
        found.append(_compare(names, group_of, errors, resampling))
    tested = [i for i, g in enumerate(found) if g.table.gap is not None]
    p_values = [gap.p_value for g in found if (gap := g.table.gap) is not None]
    corrected = multipletests(p_values, method="holm")[1].tolist() if p_values else []
    for i, p in zip(tested, corrected, strict=True):
        found[i] = _if_complete(replace(found[i], p_holm=p))
    return tuple(found)


def _compare(
    names: tuple[str, ...],
    group_of: Mapping[str, str],
    errors: Mapping[str, ErrorRate],
    resampling: Resampling,
) -> GivenGroups:
    facts = {speaker: {"value": value} for speaker, value in group_of.items()}
    low, high = _LEAST_SPEAKERS
    least = min(high, max(low, len(errors) // 10))
    table = group_tables(errors, facts, ["value"], {}, resampling, least, _LEAST_WORDS)["value"]
    note = ""
    if table.gap is None:
        note = (
            f"Fewer than two groups have {least} speakers and {_LEAST_WORDS} words, so "
            "that no gap is given."
        )
    rates = speaker_rates(errors, group_of) if len(names) == 1 else {}
    return GivenGroups(columns=names, table=table, p_holm=None, note=note, rates=rates)


def _if_complete(groups: GivenGroups) -> GivenGroups:
    """Leave out a gap without an interval or power; what it lacks becomes a note."""
    gap = groups.table.gap
    if gap is None or (gap.difference_interval is not None and gap.detectable is not None):
        return groups
    lacks = "has no interval" if gap.difference_interval is None else "no size of it would show"
    return replace(
        groups,
        table=GroupTable(groups.table.groups, None),
        note=f"The gap is not given, because with these speakers and errors {lacks}.",
    )


def speaker_rates(
    errors: Mapping[str, ErrorRate], group_of: Mapping[str, str]
) -> dict[str, tuple[float, ...]]:
    """Return the sorted error rates in per cent of each group's speakers who have words."""
    by_group: dict[str, list[float]] = {}
    for speaker, group in group_of.items():
        if speaker in errors and errors[speaker].words:
            by_group.setdefault(group, []).append(100 * errors[speaker].rate)
    kept = {}
    for group, rates in sorted(by_group.items()):
        at = np.linspace(0, len(rates) - 1, min(len(rates), _RATES)).round().astype(int)
        kept[group] = tuple(round(x, 1) for x in np.sort(rates)[at].tolist())
    return kept

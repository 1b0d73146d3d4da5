"""Whom the trainings of speaker models raised: a table for each column of the speaker table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asrlib.report.document import Block, Section, Table, Text
from asrlib.report.format import DASH
from asrlib.verification.raised import Raised, RaisedGroup


def raised_sections(found: Sequence[Raised]) -> Iterator[Section]:
    """Describe the weights of training speakers by group, a row for each training.

    Args:
        found: of trainings with reweighting; none: there is no section.
    """
    if not found:
        return
    text = (
        "Mean weights of training speakers at the end of the training; 1 is the mean over all "
        "utterances, ± the standard deviation over speakers. Of a permuted training, they are the "
        "adversary's choice before the permutation. Two columns together tell whether a group was "
        "raised or whoever is recorded like it."
    )
    blocks: list[Block] = [Text(text)]
    for column in dict.fromkeys(column for one in found for column in one.groups):
        blocks.append(_table(column, [one for one in found if column in one.groups]))
    yield Section("Whom the weights raised", tuple(blocks))


def _table(column: str, found: Sequence[Raised]) -> Table:
    values = list(dict.fromkeys(g.value for one in found for g in one.groups[column]))
    sizes = {g.value: g.speakers for one in reversed(found) for g in one.groups[column]}
    header = (column, *(f"{value} ({sizes[value]:,})" for value in values))
    rows = []
    for one in found:
        own = {g.value: g for g in one.groups[column]}
        rows.append((one.name, *(_cell(own.get(value)) for value in values)))
    return Table(header, tuple(rows))


def _cell(group: RaisedGroup | None) -> str:
    return DASH if group is None else f"{group.mean:.2f} ± {group.std:.2f}"

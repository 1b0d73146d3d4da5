"""Whom a reweighted training raised: mean weights of its speakers, by group.

Arrays: S speakers, in the order of their names.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asrlib.json_record import JsonRecord
from asrlib.verification.groups import Column, metadata_columns
from asrlib.verification.text import aligned

RAISED_FILE = "raised.json"


@dataclass(frozen=True)
class RaisedGroup(JsonRecord):
    """The weights of a group of training speakers.

    Attributes:
        value: the group.
        speakers: number of its speakers.
        mean, std: of the speakers' mean weights; 1 is the mean over all utterances.
    """

    value: str
    speakers: int
    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class Raised(JsonRecord):
    """Content of raised.json.

    Attributes:
        name: the directory of the training under exp/.
        run: identity of the training.
        step: the training step of the checkpoint.
        utterances: largest number of utterances of a speaker.
        speakers: number of training speakers; those at another speed are left out.
        lowest, highest: the least and the greatest mean weight of a speaker.
        groups: by column, or by two columns together.
    """

    name: str
    run: str | None
    step: int
    utterances: int
    speakers: int
    lowest: float
    highest: float
    groups: dict[str, tuple[RaisedGroup, ...]]


def raised_groups(
    weights: Mapping[str, float],
    metadata: Mapping[str, Mapping[str, str]],
    columns: Sequence[str],
    bands: Mapping[str, Sequence[float]],
    min_speakers: int,
) -> dict[str, tuple[RaisedGroup, ...]]:
    """Average the speakers' weights by each column of the speaker table, and by every two columns.

    Two columns together tell apart what one cannot: whether the young were raised, or whoever is in
    the corpus that holds them.

    Args:
        weights: mean weight of each training speaker.
        metadata: columns of each speaker.
        columns: names of the columns; those without a value are skipped.
        bands: ascending band edges, for each column that contains numbers.
        min_speakers: smaller groups are left out.
    """
    speakers = sorted(weights)
    weight_S = np.array([weights[name] for name in speakers])
    single = metadata_columns(speakers, metadata, columns, bands)
    crossed = [_crossed(a, b) for a, b in itertools.combinations(single, 2)]
    found = {c.name: tuple(_groups(c, weight_S, min_speakers)) for c in (*single, *crossed)}
    return {name: groups for name, groups in found.items() if len(groups) > 1}


def _groups(column: Column, weight_S: np.ndarray, least: int) -> list[RaisedGroup]:
    found = []
    for number, value in enumerate(column.values):
        own = weight_S[column.group_S == number]
        if len(own) >= least:
            found.append(RaisedGroup(value, len(own), float(own.mean()), float(own.std())))
    return found


def _crossed(a: Column, b: Column) -> Column:
    """Groups of the speakers who share a group of both columns."""
    group_S = np.where(
        (a.group_S >= 0) & (b.group_S >= 0), a.group_S * len(b.values) + b.group_S, -1
    )
    values = tuple(f"{x}, {y}" for x in a.values for y in b.values)
    return Column(f"{a.name} and {b.name}", values, group_S)


def raised_text(found: Raised) -> str:
    """Format the mean weights for the terminal."""
    lines = [
        f"{found.name}, step {found.step}: mean weights of {found.speakers} training speakers, "
        f"from {found.lowest:.2f} to {found.highest:.2f}; 1 is the mean over all utterances"
    ]
    for column, groups in found.groups.items():
        rows = [(column, "speakers", "mean weight", "std")]
        rows += [(g.value, str(g.speakers), f"{g.mean:.2f}", f"{g.std:.2f}") for g in groups]
        lines += ["", *aligned(rows)]
    return "\n".join(lines)

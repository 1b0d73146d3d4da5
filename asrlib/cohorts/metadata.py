"""Groups given by columns of the speaker table, and by pairs of columns: a baseline for searches.

Shapes: S speakers, K groups of a column or pair.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from asrlib.cohort_file import BOTTOM, TOP
from asrlib.cohorts.ranking import sum_groups
from asrlib.cohorts.search import Assignment, Candidate
from asrlib.cohorts.table import SpeakerTable
from asrlib.json_record import JsonRecord
from asrlib.scoring.groups import UNKNOWN, names_of


@dataclass(frozen=True)
class ColumnRule(JsonRecord):
    """A value of a column, or a pair of values of two columns, for bottom and top.

    Attributes:
        columns: one or two columns.
        bands: ascending band edges of columns with numbers.
        bottom, top: a value for each column.
    """

    columns: tuple[str, ...]
    bands: dict[str, tuple[float, ...]]
    bottom: tuple[str, ...]
    top: tuple[str, ...]
    kind: Literal["columns"] = field(default="columns")

    def assign(self, table: SpeakerTable) -> Assignment:
        """Compare values; a missing one, or text in a column of numbers, is unknown."""
        cohorts, used, reasons = [], [], []
        for values in zip(*(values_of(table, c, self.bands) for c in self.columns), strict=True):
            lacking = [c for c, v in zip(self.columns, values, strict=True) if v == UNKNOWN]
            name = " and ".join(f"{c}={v}" for c, v in zip(self.columns, values, strict=True))
            known = {self.top: TOP, self.bottom: BOTTOM}.get(values, name)
            cohorts.append(UNKNOWN if lacking else known)
            used.append(dict(zip(self.columns, values, strict=True)))
            reasons.append(f"no usable value in {lacking[0]}" if lacking else "")
        return Assignment(tuple(cohorts), tuple(used), tuple(reasons))


def values_of(
    table: SpeakerTable, column: str, bands: Mapping[str, Sequence[float]]
) -> tuple[str, ...]:
    """Return the values of a column; numbers as bands; `unknown` where there is none."""
    return names_of(table.column(column), bands.get(column))


@dataclass(frozen=True)
class _Split:
    """A column or pair with the group of each speaker; -1 for an unknown value."""

    columns: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    group_S: np.ndarray


class MetadataSearch:
    """The search for the worst value among columns and pairs of columns.

    Args:
        table: discovery speakers.
        columns: columns to use.
        min_speakers: fewest speakers of bottom and top.
    """

    def __init__(
        self,
        table: SpeakerTable,
        columns: Sequence[str],
        bands: Mapping[str, Sequence[float]],
        min_speakers: int,
    ) -> None:
        self._bands = bands
        self._min_speakers = min_speakers
        chosen = [(c,) for c in columns] + list(itertools.combinations(columns, 2))
        self._splits = [_split(table, names, bands) for names in chosen]

    def find(self, errors_S: np.ndarray, words_S: np.ndarray) -> Candidate | None:
        """Return the split whose worst large group has the highest smoothed rate, if any."""
        best: Candidate | None = None
        for split in self._splits:
            sums = sum_groups(split.group_S, errors_S, words_S, len(split.values))
            large = np.flatnonzero((sums.speakers_K >= self._min_speakers) & (sums.words_K > 0))
            if len(large) < 2 or np.ptp(sums.smoothed_K[large]) == 0:
                continue
            worst = large[np.argmax(sums.smoothed_K[large])]
            if best is not None and sums.smoothed_K[worst] <= best.cohort(BOTTOM).smoothed:
                continue
            names = [
                " and ".join(f"{c}={v}" for c, v in zip(split.columns, values, strict=True))
                for values in split.values
            ]
            names[worst], names[large[np.argmin(sums.smoothed_K[large])]] = BOTTOM, TOP
            best = Candidate(split.group_S, tuple(names), sums, split)
        return best

    def rule(self, candidate: Candidate) -> ColumnRule:
        """Return the values of bottom and top."""
        split: _Split = candidate.model
        return ColumnRule(
            split.columns,
            {c: tuple(self._bands[c]) for c in split.columns if c in self._bands},
            split.values[candidate.names.index(BOTTOM)],
            split.values[candidate.names.index(TOP)],
        )


def _split(
    table: SpeakerTable, columns: tuple[str, ...], bands: Mapping[str, Sequence[float]]
) -> _Split:
    rows = list(zip(*(values_of(table, c, bands) for c in columns), strict=True))
    values = tuple(sorted({row for row in rows if UNKNOWN not in row}))
    number = {value: k for k, value in enumerate(values)}
    return _Split(columns, values, np.array([number.get(row, -1) for row in rows], dtype=np.int64))

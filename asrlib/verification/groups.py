"""Groups of speakers in verification: columns of the speaker table, or cohorts.

Which group does an impostor trial belong to? By default only impostors of the same group count: a
false alarm of a group is a trial of two of its speakers. Three reasons. Impostors who resemble the
target (in gender, age, accent) are the hard ones. The rate depends on the group's speakers alone,
not on who else is in the test set: with all impostors, a small group meets mostly the easy ones of
other groups, and looks safer the smaller it is. And a trial is in one group, so groups can be
resampled and compared without counting a trial twice. With `enrolled`, all impostors who claim to
be a speaker of the group count, which describes a product whose attackers are the whole test set.

Shapes: S speakers, in the order of their names; P pairs of speakers; T trials.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from asrlib.cohort_file import BOTTOM, MIDDLE, TOP, read_cohort_map
from asrlib.errors import DataError
from asrlib.scoring.groups import in_order, names_of, tell_skipped
from asrlib.scoring.records import read_speakers

log = logging.getLogger(__name__)

ALL = "all"
COHORT = "cohort by "  # with the name of their directory, the column of `cohort_column`

Impostors = Literal["same_group", "enrolled"]


@dataclass(frozen=True)
class Column:
    """A way to divide speakers into groups.

    Attributes:
        name: name of the column.
        values: names of the groups, in the order in which they are shown.
        group_S: number of each speaker's group in `values`; -1 for a speaker in none.
    """

    name: str
    values: tuple[str, ...]
    group_S: np.ndarray

    def strata(self) -> dict[str, np.ndarray]:
        """Return the numbers of each group's speakers; those in no group are under ''."""
        strata = {v: np.flatnonzero(self.group_S == g) for g, v in enumerate(self.values)}
        rest = np.flatnonzero(self.group_S < 0)
        return {**strata, "": rest} if len(rest) else strata


def everyone(count: int) -> Column:
    """Put all speakers into one group."""
    return Column(ALL, (ALL,), np.zeros(count, dtype=np.int64))


def metadata_columns(
    speakers: Sequence[str],
    metadata: Mapping[str, Mapping[str, str]],
    columns: Sequence[str],
    bands: Mapping[str, Sequence[float]],
) -> list[Column]:
    """Divide speakers by columns of the speaker table; a column without any value is skipped.

    Args:
        speakers: the speakers, sorted.
        metadata: columns of each speaker.
        columns: names of the columns.
        bands: ascending band edges, for each column that contains numbers.
    """
    made = []
    for name in columns:
        raw = [metadata.get(s, {}).get(name, "") for s in speakers]
        if not any(raw):
            tell_skipped(name, metadata)
            continue
        values = names_of(raw, bands.get(name))
        made.append(_column(name, values, in_order(values, bands.get(name))))
    return made


def cohort_column(speakers: Sequence[str], directory: Path) -> Column:
    """Divide speakers by the cohorts of a file `cohorts.jsonl`.

    Speakers on whom the cohorts were found are in no group, because a cohort is judged on others.

    Args:
        speakers: the speakers, sorted.
        directory: directory of the file.

    Raises:
        DataError: the file is missing or broken, or none of the speakers is in it.
    """
    found = read_cohort_map(directory)
    known = {
        s: found.cohorts[s]
        for s in speakers
        if s in found.cohorts and found.splits[s] != "discovery"
    }
    left_out = sum(found.splits.get(s) == "discovery" for s in speakers)
    if left_out:
        log.warning(
            "%s: %d speakers are in no group: the cohorts were found on them", found.path, left_out
        )
    if not known:
        raise DataError(
            f"{found.path}: holds no speaker of this test set for confirmation",
            "run python -m asrlib cohorts assign for these speakers",
        )
    order = [v for v in (BOTTOM, MIDDLE, TOP) if v in known.values()]
    order += sorted(set(known.values()) - set(order))
    return _column(COHORT + directory.resolve().name, [known.get(s, "") for s in speakers], order)


def _column(name: str, values: Sequence[str], order: Sequence[str]) -> Column:
    present = [v for v in order if v in values]
    numbers = {v: g for g, v in enumerate(present)}
    return Column(name, tuple(present), np.array([numbers.get(v, -1) for v in values]))


@dataclass(frozen=True)
class Inside:
    """Rule that says which trials, or pairs of speakers, belong to a group.

    Attributes:
        group_S: group of each speaker.
        group: the group.
        impostors: which impostor trials belong to it.
    """

    group_S: np.ndarray
    group: int
    impostors: Impostors

    def of(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return a mask of trials, given the enrolled and the tested speaker of each."""
        enrolled = self.group_S[first] == self.group
        if self.impostors == "enrolled":
            return enrolled
        return enrolled & (self.group_S[second] == self.group)


def column_maker(
    table: Path,
    test_set: str,
    columns: Sequence[str],
    bands: Mapping[str, Sequence[float]],
    cohorts: Sequence[Path] = (),
) -> Callable[[Sequence[str]], list[Column]]:
    """Return the function that divides speakers by columns of the speaker table and by cohorts.

    Args:
        table: the speaker table.
        test_set: the set whose rows of the table are used.
        columns, bands: as for `metadata_columns`.
        cohorts: directories of cohorts.
    """
    metadata = read_speakers(table, test_set)

    def make(speakers: Sequence[str]) -> list[Column]:
        found = metadata_columns(speakers, metadata, columns, bands)
        return [*found, *(cohort_column(speakers, one) for one in cohorts)]

    return make

"""The file that says which cohort each speaker is in: `cohorts.jsonl` of a cohort directory.

It has one JSON object per line, with the keys `speaker` and `cohort`. A line with the key
`utterance` gives the cohort of an utterance instead. `split` names the half of the corpus:
cohorts are found on speakers of `discovery` and judged on those of `confirmation`. Speakers that
were assigned to cohorts later have no split. `method` says how the cohorts were found. Readers
ignore the other keys. The cohort with the most errors is called `bottom`, the one with the fewest
`top`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from asrlib.errors import DataError

COHORTS_FILE = "cohorts.jsonl"
BY_UTTERANCE = (
    "by_utterance"  # below a cohort directory: the cohort that each utterance tells alone
)
TOP, MIDDLE, BOTTOM = "top", "middle", "bottom"
Split = Literal["discovery", "confirmation", "other"]

_FIX = (
    "make it with python -m asrlib cohorts find or assign, or name a directory that holds such "
    "a file"
)


@dataclass(frozen=True)
class CohortMap:
    """The content of cohorts.jsonl.

    Attributes:
        path: the file, for messages.
        method: how the cohorts were found; the directory's name if the file does not say it.
        cohorts: by id of speaker or utterance.
        splits: by the same; `other` where the file names no split.
    """

    path: Path
    method: str
    cohorts: dict[str, str]
    splits: dict[str, Split]


def read_cohort_map(directory: Path) -> CohortMap:
    """Read cohorts.jsonl of a cohort directory.

    Raises:
        DataError: the file is missing or names no speaker, a line is broken or has an unknown
            split, or two lines are of one speaker; the message names the file and the line.
    """
    path = directory / COHORTS_FILE
    if not path.is_file():
        raise DataError(f"{path}: missing", _FIX)
    method = directory.resolve().name
    cohorts: dict[str, str] = {}
    splits: dict[str, Split] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            entry = json.loads(line)
            id = entry["utterance"] if "utterance" in entry else entry["speaker"]
            cohort, split = entry["cohort"], entry.get("split", "other")
            method = str(entry.get("method", method))
            if not (isinstance(id, str) and isinstance(cohort, str)):
                raise TypeError("speaker and cohort must be strings")
            f"{id}{cohort}{method}".encode()  # no half of a surrogate pair
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise DataError(
                f"{path}: line {number} does not name a speaker and a cohort ({type(e).__name__})",
                _FIX,
            ) from None
        if split not in get_args(Split):
            raise DataError(f"{path}: line {number}: split {split!r} is unknown", _FIX)
        if id in cohorts:
            raise DataError(f"{path}: line {number}: {id} comes twice", "keep one of the lines")
        cohorts[id], splits[id] = cohort, split
    if not cohorts:
        raise DataError(f"{path}: names no speaker", _FIX)
    return CohortMap(path, method, cohorts, splits)

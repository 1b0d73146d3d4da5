"""The file that says which cohort each speaker is in: `cohorts.jsonl` of a cohort directory.

It has one JSON object per line and speaker, with the keys `speaker` and `cohort`; readers of
memberships ignore its other keys. The cohort with the most errors is called `bottom`, the one with
the fewest `top`.
"""

from __future__ import annotations

import json
from pathlib import Path

from asrlib.errors import DataError

COHORTS_FILE = "cohorts.jsonl"
TOP, BOTTOM = "top", "bottom"

_FIX = "make it with python -m asrlib cohorts, or name a directory that holds one"


def read_cohorts(path: Path) -> dict[str, str]:
    """Read the cohort of each speaker.

    Args:
        path: the file `cohorts.jsonl`.

    Raises:
        DataError: the file is missing or names no speaker, a line is broken, or two lines are of
            one speaker; the message names the file and the line.
    """
    if not path.is_file():
        raise DataError(f"{path}: missing", _FIX)
    cohorts: dict[str, str] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            entry = json.loads(line)
            speaker, cohort = entry["speaker"], entry["cohort"]
            if not (isinstance(speaker, str) and isinstance(cohort, str)):
                raise TypeError("speaker and cohort must be strings")
        except (ValueError, KeyError, TypeError) as e:
            raise DataError(
                f"{path}: line {number} does not name a speaker and a cohort ({type(e).__name__})",
                _FIX,
            ) from None
        if speaker in cohorts:
            raise DataError(f"{path}: line {number}: speaker {speaker} comes twice", _FIX)
        cohorts[speaker] = cohort
    if not cohorts:
        raise DataError(f"{path}: names no speaker", _FIX)
    return cohorts

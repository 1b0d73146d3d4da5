"""A table of facts about speakers that comes with a corpus: `speaker`, then any columns.

The table is tab-separated with a header. `gender` and `age` (years) are understood by scoring,
`zip`, `latitude` and `longitude` (degrees) by the search for cohorts; every other column becomes a
column of data/speakers.tsv by its own name. A column `set` is ignored, because the directories of
a corpus name its sets.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from asrlib.data.raw import RawUtterance, Scalar
from asrlib.errors import DataError, first_few

_LIMITS = {"age": (0.0, 150.0), "latitude": (-90.0, 90.0), "longitude": (-180.0, 180.0)}
_IGNORED = ("set",)


def read_speaker_facts(path: Path) -> dict[str, dict[str, Scalar]]:
    """Read the facts of each speaker; an empty cell is an unknown fact.

    Age, latitude and longitude are numbers in the result, everything else is text: the zip code
    02134 keeps its zero.

    Raises:
        DataError: the table is not UTF-8, has no column `speaker`, two columns of one name, a row
            of another length, a wrong number, or two rows of a speaker that disagree; the message
            names the line or the speaker.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: not readable: {e}", "write it as UTF-8 text") from e
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    header = [name.strip() for name in rows[0]] if rows else []
    if "speaker" not in header or len(set(header)) < len(header) or "" in header:
        raise DataError(
            f"{path}: line 1: not a header of different names, one of them `speaker`",
            "begin the table with a line such as: speaker<TAB>gender<TAB>age<TAB>zip",
        )
    facts: dict[str, dict[str, Scalar]] = {}
    for number, cells in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        row = _row(f"{path}: line {number}", header, cells)
        speaker = str(row.pop("speaker"))
        known = facts.setdefault(speaker, row)
        if known != row:
            differing = sorted(k for k in {*known, *row} if known.get(k) != row.get(k))
            raise DataError(
                f"{path}: line {number}: speaker {speaker} disagrees with an earlier line on "
                + ", ".join(differing),
                "keep one line per speaker",
            )
    return facts


def _row(where: str, header: Sequence[str], cells: Sequence[str]) -> dict[str, Scalar]:
    if len(cells) != len(header):
        raise DataError(
            f"{where}: {len(cells)} cells, but the header has {len(header)}",
            "separate cells by single tabs; leave unknown cells empty",
        )
    values = {k: " ".join(v.split()) for k, v in zip(header, cells, strict=True)}
    if not values["speaker"]:
        raise DataError(f"{where}: no speaker", "write the speaker's id, as utt2spk has it")
    if bool(values.get("latitude")) != bool(values.get("longitude")):
        raise DataError(f"{where}: only one of latitude and longitude", "write both or neither")
    row: dict[str, Scalar] = {k: v for k, v in values.items() if v and k not in _IGNORED}
    for column in row.keys() & _LIMITS.keys():
        row[column] = _number(where, column, values[column])
    return row


def _number(where: str, column: str, value: str) -> float:
    low, high = _LIMITS[column]
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise DataError(
            f"{where}: {column} {value!r} is not a number from {low:g} to {high:g}",
            f"correct it, leave the cell empty, or give the column another name than {column}",
        )
    return number


def add_speaker_facts(
    sets: Mapping[str, Sequence[RawUtterance]],
    facts: Mapping[str, Mapping[str, Scalar]],
    path: Path,
) -> dict[str, list[RawUtterance]]:
    """Return the utterances with the facts of their speakers.

    Speakers without utterances and speakers without facts are named in the log.

    Args:
        sets: raw rows by set.
        facts: what `read_speaker_facts` returns.
        path: the table, for messages.

    Raises:
        DataError: a fact contradicts what the corpus says elsewhere, or no speaker of the table has
            an utterance.
    """
    speakers = {u.speaker for utterances in sets.values() for u in utterances}
    if not speakers & facts.keys():
        raise DataError(
            f"{path}: none of its {len(facts)} speakers has an utterance in the corpus"
            + (f"; they are {first_few(sorted(facts))}" if facts else ""),
            "write the speakers' ids as utt2spk has them, for example "
            + first_few(sorted(speakers)),
        )
    if unknown := facts.keys() - speakers:
        logging.warning("%s: speakers without an utterance: %s", path, first_few(sorted(unknown)))
    if bare := speakers - facts.keys():
        logging.warning("%s: nothing about these speakers: %s", path, first_few(sorted(bare)))
    return {name: [_with_facts(u, facts, path) for u in rows] for name, rows in sets.items()}


def _with_facts(
    utterance: RawUtterance, facts: Mapping[str, Mapping[str, Scalar]], path: Path
) -> RawUtterance:
    told = dict(facts.get(utterance.speaker, {}))
    if "gender" in told:
        told["gender"] = str(told["gender"]).lower()
    known = {"gender": utterance.gender, "age": utterance.age, **utterance.speaker_meta}
    known = {k: v for k, v in known.items() if v is not None}
    for column in sorted(told.keys() & known.keys()):
        if told[column] != known[column]:
            raise DataError(
                f"{path}: speaker {utterance.speaker}: {column} is {told[column]}, but "
                f"{known[column]} elsewhere in the corpus",
                f"correct one of them, for example spk2{column}",
            )
    merged = {**known, **told}
    gender, age = merged.pop("gender", None), merged.pop("age", None)
    return dataclasses.replace(
        utterance,
        gender=None if gender is None else str(gender),
        age=None if age is None else float(age),
        speaker_meta=merged,
    )

"""Raw utterance tables: output of a recipe's local step, input of `python -m asrlib manifests`.

`data/raw/<set>.jsonl` holds one JSON object per line and utterance. `RawUtterance` lists the
fields; those that are None or empty may be left out. Audio and text have not been checked: a row
may name a file that is missing or broken, which the manifests command then reports.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic

from asrlib.config import configclass
from asrlib.errors import DataError
from asrlib.files import atomic_dir
from asrlib.spool import IndexedLines

Scalar = str | int | float | bool | None
TRAIN_SET = "train"  # the only set that models are trained on


@configclass
class RawUtterance:
    """One utterance, as the corpus describes it.

    Attributes:
        id: utterance id, unique over all sets.
        audio: path of the audio file, absolute or relative to the recipe's directory.
        text: transcript of the corpus, not normalised.
        speaker: speaker id.
        gender: `f`, `m` or another value of the corpus; None if unknown.
        age: age in years; None if unknown.
        speaker_meta: facts about the speaker, equal in all rows of the speaker. They become
            columns of the speaker table and custom fields of the supervision.
        custom: facts about the utterance. They become custom fields of the supervision.
        words: (word, start, end) of each word, in seconds from the utterance's start; None if
            unknown.
        start, end: limits of the utterance within the file, seconds. None means the start or the
            end of the file.
    """

    id: str
    audio: str
    text: str
    speaker: str
    gender: str | None = None
    age: float | None = None
    speaker_meta: dict[str, Scalar] = dataclasses.field(default_factory=dict)
    custom: dict[str, Any] = dataclasses.field(default_factory=dict)
    words: tuple[tuple[str, float, float], ...] | None = None
    start: float | None = None
    end: float | None = None


_ROW = pydantic.TypeAdapter(RawUtterance)


def write_raw(raw_dir: Path, sets: Mapping[str, Iterable[RawUtterance]]) -> None:
    """Write the tables of all sets; together they replace the content of `raw_dir`."""
    with atomic_dir(raw_dir) as temp:
        for name, utterances in sets.items():
            lines = [_line(utterance) for utterance in utterances]
            (temp / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
            logging.info("%s: %d utterances -> %s", name, len(lines), raw_dir / f"{name}.jsonl")


def iter_raw(path: Path) -> Iterator[RawUtterance]:
    """Iterate over one set's table.

    Raises:
        DataError: the file is missing or a line is not a valid row; the message names file, line
            and field.
    """
    try:
        with open(path, "rb") as f:
            for number, line in enumerate(f, 1):
                if text := line.decode().strip():
                    yield _parse(path, number, text)
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: not readable: {e}", "run the recipe's local step again") from e


def read_raw(path: Path) -> list[RawUtterance]:
    """Read one set's table into memory; raises the same errors as `iter_raw`."""
    return list(iter_raw(path))


def raw_table(path: Path) -> IndexedLines[RawUtterance]:
    """Check one set's table and index its rows, which are then read from the file when needed.

    Raises:
        DataError: as of `iter_raw`.
    """
    for _ in iter_raw(path):
        pass
    return IndexedLines.of_file(path, _ROW.validate_json)


def raw_sets(raw_dir: Path) -> dict[str, Path]:
    """Return the tables in `raw_dir` by set name: train, dev, then the others.

    Raises:
        DataError: `raw_dir` holds no table.
    """
    order = {TRAIN_SET: 0, "dev": 1}
    paths = sorted(raw_dir.glob("*.jsonl"), key=lambda p: (order.get(p.stem, 2), p.stem))
    if not paths:
        raise DataError(
            f"{raw_dir}: no raw utterance tables",
            "run stages 0 and 1 of the recipe (its local/corpus.sh and local/raw.*) first",
        )
    return {path.stem: path for path in paths}


def _line(utterance: RawUtterance) -> str:
    fields = {
        key: value
        for key, value in dataclasses.asdict(utterance).items()
        if value not in (None, {}) or key == "text"
    }
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _parse(path: Path, number: int, line: str) -> RawUtterance:
    try:
        return _ROW.validate_json(line)
    except pydantic.ValidationError as e:
        # The message leaves out the input, which may hold a transcript.
        error = e.errors(include_input=False)[0]
        field = ".".join(str(part) for part in error["loc"])
        raise DataError(
            f"{path}: line {number}: {field}: {error['msg']}".replace(": : ", ": "),
            "run the recipe's local step again, or fix the line",
        ) from None

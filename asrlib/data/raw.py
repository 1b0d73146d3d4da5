"""Raw utterance tables: what a recipe's local step leaves for `python -m asrlib manifests`.

`data/raw/<set>.jsonl` holds one JSON object a line, one line an utterance. `RawUtterance` lists
the fields; those that are None or empty may be left out. Neither the audio nor the text has been
looked at yet: a row may point at a file that is missing or broken, and the manifests command
says so.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from asrlib.config import configclass
from asrlib.errors import DataError
from asrlib.files import atomic_dir

Scalar = str | int | float | bool | None
TRAIN_SET = "train"  # the one set that models learn from


@configclass
class RawUtterance:
    """One utterance as the corpus describes it.

    Attributes:
        id: unique over all sets.
        audio: path, absolute or relative to the recipe's directory.
        text: the corpus's transcript, not normalised.
        speaker: id of the speaker.
        gender: `f`, `m` or what else the corpus says; None when unknown.
        age: in years; None when unknown.
        speaker_meta: facts about the speaker, the same in all the speaker's rows: columns of
            the speaker table, and part of the supervision's custom fields.
        custom: facts about the utterance: the supervision's custom fields.
        words: (word, start, end), seconds from the utterance's start; None when unknown.
        start, end: seconds; the utterance is this part of the file. None: from the file's
            start, to its end.
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
    """Write every set's table; they appear together, in place of whatever was in `raw_dir`."""
    with atomic_dir(raw_dir) as temp:
        for name, utterances in sets.items():
            lines = [_line(utterance) for utterance in utterances]
            (temp / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
            logging.info("%s: %d utterances -> %s", name, len(lines), raw_dir / f"{name}.jsonl")


def read_raw(path: Path) -> list[RawUtterance]:
    """Read one set's table.

    Raises:
        DataError: no such file, or a line that is no valid row; names file, line and field.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: not readable: {e}", "run the recipe's local step again") from e
    return [_parse(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def raw_sets(raw_dir: Path) -> dict[str, Path]:
    """The tables in `raw_dir` by set name, train first, then dev, then the others.

    Raises:
        DataError: there is none.
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
        # The input itself stays out of the message: it may hold a transcript.
        error = e.errors(include_input=False)[0]
        field = ".".join(str(part) for part in error["loc"])
        raise DataError(
            f"{path}: line {number}: {field}: {error['msg']}".replace(": : ", ": "),
            "run the recipe's local step again, or fix the line",
        ) from None

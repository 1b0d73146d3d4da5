"""Dataclasses that are stored as JSON files and are equal after reading.

A record is a frozen standard dataclass that inherits from `JsonRecord`. Its annotations define the
format of its file, and pydantic checks them. Fields are numbers, strings, tuples, dicts, named
tuples and other dataclasses. A property marked with `pydantic.computed_field` is written for people
and other programs. Keys of a file that are not fields, such as these, are ignored in reading.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
from typing_extensions import Self

from asrlib.errors import DataError
from asrlib.files import atomic_write

_WIDTH = 100  # of a line of compact text; what is longer stands on lines of its own


class JsonRecord:
    """Base class of records. Law: `type(x).from_json(x.to_json()) == x`, also through a file."""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values, including computed fields."""
        return _adapter(type(self)).dump_python(self, mode="json")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Build the record from values that `to_json` returned.

        Raises:
            ValueError: a key is missing or has a wrong type.
        """
        return _adapter(cls).validate_json(json.dumps(content), strict=True)

    @classmethod
    def from_file(cls, path: Path, fix: str) -> Self:
        """Read a file that `to_file` wrote.

        Args:
            path: the file.
            fix: what the user can do if the file is unusable, for the error message.

        Raises:
            DataError: the file is missing, broken, or of another version; the message names the
                file and the key.
        """
        try:
            return _adapter(cls).validate_json(path.read_bytes(), strict=True)
        except FileNotFoundError:
            raise DataError(f"{path}: missing", fix) from None
        except pydantic.ValidationError as e:
            raise DataError(f"{path}: {_explain(e)}", fix) from None

    def to_file(self, path: Path) -> None:
        """Write the record to a file atomically."""
        with atomic_write(path) as f:
            json.dump(self.to_json(), f, indent=1)


@functools.cache
def _adapter(cls: type) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(cls)


def _explain(error: pydantic.ValidationError) -> str:
    """Return what is wrong, without the content of the file, which may be private."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"not readable as JSON ({first['ctx']['error']})"
    if not first["loc"]:
        return "is not a JSON object"
    key = ".".join(map(str, first["loc"]))
    reason = first["msg"][0].lower() + first["msg"][1:]
    return f"key {key}: {reason}; the file is broken or of another version"


def compact_text(value: Any) -> str:
    """Write JSON in which what fits stands on one line, for those who read diffs."""
    return "".join(_lines(value, "")) + "\n"


def _lines(value: Any, indent: str) -> Iterator[str]:
    compact = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(indent) + len(compact) <= _WIDTH:
        yield compact
        return
    ends = "{}" if isinstance(value, dict) else "[]"
    pairs = value.items() if isinstance(value, dict) else (("", item) for item in value)
    separator, deeper = ends[0], indent + " "
    for key, item in pairs:
        yield f"{separator}\n{deeper}"
        if isinstance(value, dict):
            yield f"{json.dumps(key, ensure_ascii=False)}: "
        yield from _lines(item, deeper)
        separator = ","
    yield f"\n{indent}{ends[1]}"

"""Dataclasses that are kept as JSON files and come back equal.

A record is a frozen standard dataclass that inherits from `JsonRecord`. Its annotations are the
format of its file: pydantic reads them. Fields are numbers, texts, tuples, dicts, named tuples and
other dataclasses. A property marked with `pydantic.computed_field` is written for people and other
programs; like every key that is no field it is passed over when the file is read.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pydantic
from typing_extensions import Self

from asrlib.errors import DataError
from asrlib.files import atomic_write


class JsonRecord:
    """Base of records: `type(x).from_json(x.to_json()) == x`, in a file too."""

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values, with its derived keys."""
        return _adapter(type(self)).dump_python(self, mode="json")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The record that `to_json` made these values of.

        Raises:
            ValueError: a key is missing or of another kind.
        """
        return _adapter(cls).validate_json(json.dumps(content), strict=True)

    @classmethod
    def from_file(cls, path: Path, fix: str) -> Self:
        """Read the file that `to_file` left.

        Raises:
            DataError: it is missing, broken, or of another version; names the file, the key, `fix`.
        """
        try:
            return _adapter(cls).validate_json(path.read_bytes(), strict=True)
        except FileNotFoundError:
            raise DataError(f"{path}: missing", fix) from None
        except pydantic.ValidationError as e:
            raise DataError(f"{path}: {_explain(e)}", fix) from None

    def to_file(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with atomic_write(path) as f:
            json.dump(self.to_json(), f, indent=1)


@functools.cache
def _adapter(cls: type) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(cls)


def _explain(error: pydantic.ValidationError) -> str:
    """What is wrong, without the file's own content, which may be private."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"not readable as JSON ({first['ctx']['error']})"
    if not first["loc"]:
        return "holds no JSON object"
    key = ".".join(map(str, first["loc"]))
    reason = first["msg"][0].lower() + first["msg"][1:]
    return f"key {key}: {reason}; the file is broken or of another version"

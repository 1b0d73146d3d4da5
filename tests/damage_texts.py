"""Kinds of damage to files of text: to any of them, to lines of JSON, and to names within."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Damage = Callable[[Path], None]

# Names that break out of something: of a directory, a shell command, a line, a table, an encoding.
NAMES = {
    "that climbs": "../../../climbed",
    "absolute": "/tmp/absolute-name",
    "in a subdirectory": "sub/name",
    "of one dot": ".",
    "of two dots": "..",
    "like an option": "-rf",
    "with a newline": "two\nlines",
    "with a tab": "two\tcells",
    "with a carriage return": "two\rlines",
    "with a space": "two words",
    "of spaces": "   ",
    "empty": "",
    "with $( )": "$(touch pwned)",
    "with backquotes": "`touch pwned`",
    "with ; and |": ";touch pwned|cat",
    "with quotes": "'\"",
    "with braces": "{0}{x}%s%n",
    "of 300 characters": "n" * 300,
    "of 5000 characters": "n" * 5000,
    "in NFC": "\u00e9t\u00e9",
    "in NFD": "e\u0301te\u0301",
    "from right to left": "\u202eabc\u05d0",
    "of zero width": "\u200b\u200d\ufeff",
    "beyond the BMP": "\U0001f600\U00010348",
    "with NUL": "nul\x00l",
    "with a control character": "bell\x07\x1b[31m",
    "with a line separator": "two\u2028lines\x85three",
    "with a lone surrogate": "half\ud800",
}
_VALUES: dict[str, Any] = {
    "null": None,
    "a mapping": {"a": 1},
    "a list": [1],
    "-1": -1,
    "1e308": 1e308,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "true": True,
    "text": "text",
    "10^400": 10**400,
}


def _written(change: Callable[[bytes], bytes]) -> Damage:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def _replaced(make: Callable[[Path], Any]) -> Damage:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def any_file() -> Iterator[tuple[str, Damage]]:
    """What may happen to any file."""
    noise = random.Random(4).randbytes(500)
    changes: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda b: b"",
        "cut to half": lambda b: b[: len(b) // 2],
        "cut by 3 bytes": lambda b: b[:-3],
        "random bytes": lambda b: noise,
        "random bytes in the midst": lambda b: b[: len(b) // 2] + noise + b[len(b) // 2 :],
        "zeros": lambda b: bytes(len(b)),
        "zeros at the end": lambda b: b + bytes(512),
        "NUL in the midst": lambda b: b[: len(b) // 2] + b"\0" + b[len(b) // 2 :],
        "twice": lambda b: b + b,
        "lines in reverse": lambda b: b"".join(reversed(b.splitlines(keepends=True))),
        "without newlines": lambda b: b.replace(b"\n", b" "),
        "CRLF": lambda b: b.replace(b"\n", b"\r\n"),
        "byte order mark": lambda b: b"\xef\xbb\xbf" + b,
        "UTF-16": lambda b: b.decode("latin-1").encode("utf-16"),
        "Latin-1": lambda b: b + "\xe9t\xe9 \xfc".encode("latin-1") + b"\n",
        "an encoded surrogate": lambda b: b + b"\xed\xa0\x80\n",
        "packed": gzip.compress,
        "an HTML page": lambda b: b"<!doctype html><title>404</title>\n",
        "a line of a megabyte": lambda b: b + b"x" * 2**20 + b"\n",
        "nested 100,000 deep": lambda b: b"[" * 100_000,
    }
    yield from ((name, _written(change)) for name, change in changes.items())
    yield "missing", Path.unlink
    yield "a directory", _replaced(Path.mkdir)
    yield "a link to nothing", _replaced(lambda path: path.symlink_to("nowhere"))
    yield "a link to itself", _replaced(lambda path: path.symlink_to(path.name))


def _with_row(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """Add a row to lines of JSON: a changed copy of the first one, with an id of its own."""

    def damage(path: Path) -> None:
        first = json.loads(path.read_text().splitlines()[0])
        row = change(first)
        with open(path, "a") as f:
            f.write(json.dumps(row) + "\n")

    return damage


def json_rows(own: dict[str, str], *keys: str) -> Iterator[tuple[str, Damage]]:
    """Rows with values that are no good.

    Args:
        own: values that make the row another than the first one.
        keys: whose values are changed.
    """
    for key in keys:
        yield f"row without {key}", _with_row(lambda r, k=key: _without({**r, **own}, k))
        for title, value in _VALUES.items():
            yield (
                f"row whose {key} is {title}",
                _with_row(lambda r, k=key, v=value: {**r, **own, k: v}),
            )
    for title, row in (("a list", []), ("a number", 3), ("null", None), ("empty", {})):
        yield f"row that is {title}", _with_row(lambda r, v=row: v)


def json_names(own: dict[str, str], *keys: str) -> Iterator[tuple[str, Damage]]:
    """Rows with names that break out of something."""
    for key in keys:
        for title, name in NAMES.items():
            yield (
                f"row with a {key} {title}",
                _with_row(lambda r, k=key, n=name: {**r, **own, k: n}),
            )


def _without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != key}


def table_lines(*lines: str) -> Iterator[tuple[str, Damage]]:
    """Tables with a line more."""
    for line in lines:

        def damage(path: Path, line: str = line) -> None:
            with open(path, "a") as f:
                f.write(line + "\n")

        yield f"line {line[:40]!r}", damage


def table_names(form: str) -> Iterator[tuple[str, Damage]]:
    """Tables with a line more whose name breaks out of something."""
    for title, name in NAMES.items():

        def damage(path: Path, name: str = name) -> None:
            with open(path, "ab") as f:
                f.write(form.format(name).encode("utf-8", "surrogatepass") + b"\n")

        yield f"name {title}", damage


def json_values(*paths: str) -> Iterator[tuple[str, Damage]]:
    """A JSON file with other values at keys such as `a.b`."""
    for where in paths:
        for title, value in {**_VALUES, "a name that climbs": NAMES["that climbs"]}.items():

            def damage(path: Path, where: str = where, value: Any = value) -> None:
                content = at = json.loads(path.read_text())
                *outer, last = where.split(".")
                for key in outer:
                    at = at[key]
                at[last] = value
                path.write_text(json.dumps(content))

            yield f"{where} is {title}", damage


def texts(**contents: str) -> Iterator[tuple[str, Damage]]:
    """A file with other contents, by name."""
    for name, text in contents.items():
        data = text.encode("utf-8", "surrogatepass")
        yield name.replace("_", " "), _replaced(lambda path, data=data: path.write_bytes(data))


def clear(path: Path) -> None:
    """Remove what a damage made, whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

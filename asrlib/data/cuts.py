"""Read cut manifests of an earlier stage; missing or damaged ones raise an error."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from lhotse import CutSet, MonoCut
from lhotse.serialization import deserialize_item

from asrlib.errors import DataError
from asrlib.spool import IndexedLines

# Exceptions of lhotse and gzip for a file that is truncated, altered or of another kind.
MANIFEST_FAULTS = (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError)
MANIFEST_FAULTS += (AssertionError, AttributeError)


def iter_cuts(path: Path, fix: str) -> Iterator[MonoCut]:
    """Iterate over the cuts of a manifest, of which one is in memory at a time.

    Args:
        path: manifest, a file of JSON lines.
        fix: advice to the user for a manifest that cannot be used.

    Raises:
        DataError: the manifest is missing, half-written, of another kind or without a cut; the
            message names it.
    """
    for _, cut in _iter_lines(path, fix):
        yield cut


def read_cuts(path: Path, fix: str) -> CutSet:
    """Read all cuts of a manifest into memory; raises the same errors as `iter_cuts`."""
    return CutSet.from_cuts(list(iter_cuts(path, fix)))


def index_cuts(path: Path, fix: str, check: Callable[[MonoCut], None]) -> CutSet:
    """Unpack a manifest to a temporary file, from which cuts are read when they are asked for.

    A cut takes 8 bytes of memory. Every cut is read and checked once.

    Args:
        path, fix: see `iter_cuts`, whose errors this raises.
        check: function that raises an error for an unsuitable cut.
    """

    def lines() -> Iterator[bytes]:
        for line, cut in _iter_lines(path, fix):
            check(cut)
            yield line if line.endswith(b"\n") else line + b"\n"

    return CutSet(IndexedLines.spooled(lines(), _parse))


def chosen_cuts(cuts: CutSet, numbers: Sequence[int]) -> CutSet:
    """Return the cuts of these numbers alone; those that are on disk remain there."""
    if isinstance(cuts.data, IndexedLines):
        return CutSet(cuts.data.chosen(numbers))
    return CutSet.from_cuts(cuts[number] for number in numbers)


def _iter_lines(path: Path, fix: str) -> Iterator[tuple[bytes, MonoCut]]:
    if not path.exists():
        raise DataError(f"{path}: missing", fix)
    empty = True
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as lines:
            for line in lines:
                if line.strip():
                    empty = False
                    yield line, _parse(line)
    except MANIFEST_FAULTS as e:
        raise DataError(f"{path}: unreadable or half-written: {e}", fix) from e
    if empty:
        raise DataError(f"{path}: holds no utterance", "see data/quarantine.tsv for the reasons")


def _parse(line: bytes) -> MonoCut:
    cut = deserialize_item(json.loads(line))
    if not isinstance(cut, MonoCut):
        raise TypeError(f"it holds a {type(cut).__name__}, not a cut")
    return cast(MonoCut, cut)

"""Read cut manifests of an earlier stage; missing or damaged ones raise an error."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from lhotse import CutSet, MonoCut

from asrlib.errors import DataError

# Exceptions of lhotse and gzip for a file that is truncated, altered or of another kind.
MANIFEST_FAULTS = (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError)
MANIFEST_FAULTS += (AssertionError, AttributeError)


def iter_cuts(path: Path, fix: str) -> Iterator[MonoCut]:
    """Iterate over the cuts of a manifest.

    Args:
        path: manifest.
        fix: advice to the user for a manifest that cannot be used.

    Raises:
        DataError: the manifest is missing, half-written, of another kind or without a cut; the
            message names it.
    """
    if not path.exists():
        raise DataError(f"{path}: missing", fix)
    empty = True
    try:
        for cut in CutSet.from_file(path) or ():  # lhotse returns None for an empty file
            empty = False
            if not isinstance(cut, MonoCut):
                raise TypeError(f"it holds a {type(cut).__name__}, not a cut")
            yield cut
    except MANIFEST_FAULTS as e:
        raise DataError(f"{path}: unreadable or half-written: {e}", fix) from e
    if empty:
        raise DataError(f"{path}: holds no utterance", "see data/quarantine.tsv for the reasons")


def read_cuts(path: Path, fix: str) -> CutSet:
    """Read all cuts of a manifest into memory; raises the same errors as `iter_cuts`."""
    return CutSet.from_cuts(list(iter_cuts(path, fix)))

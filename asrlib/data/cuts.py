"""Reading of cut manifests that an earlier stage left, whole or not."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from lhotse import CutSet, MonoCut

from asrlib.errors import DataError

# What lhotse and gzip raise on a file that is cut off, altered, or something else.
MANIFEST_FAULTS = (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError)
MANIFEST_FAULTS += (AssertionError, AttributeError)


def iter_cuts(path: Path, fix: str) -> Iterator[MonoCut]:
    """The cuts of a manifest, one at a time.

    Args:
        fix: what to do about a manifest that cannot be used.

    Raises:
        DataError: missing, half-written, of something else, or without a single cut; names it.
    """
    if not path.exists():
        raise DataError(f"{path}: missing", fix)
    empty = True
    try:
        for cut in CutSet.from_file(path) or ():  # lhotse gives None for a file without a line
            empty = False
            if not isinstance(cut, MonoCut):
                raise TypeError(f"it holds a {type(cut).__name__}, no cut")
            yield cut
    except MANIFEST_FAULTS as e:
        raise DataError(f"{path}: unreadable or half-written: {e}", fix) from e
    if empty:
        raise DataError(f"{path}: holds no utterance", "look into data/quarantine.tsv for why")


def read_cuts(path: Path, fix: str) -> CutSet:
    """All cuts of a manifest, in memory; raises as `iter_cuts`."""
    return CutSet.from_cuts(list(iter_cuts(path, fix)))

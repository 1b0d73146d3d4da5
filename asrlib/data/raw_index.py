"""Which rows of the raw tables share an id or an audio file, without a copy of the tables.

Ids and paths are compared as 64-bit hashes in sorted arrays; rows whose hashes agree are compared
themselves. What stays in memory of a row is a path's hash and the row's number, 12 bytes; about 40
bytes while the index is made.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from asrlib.data.raw import RawUtterance

Row = tuple[str, RawUtterance]  # set, utterance


def audio_path(base: Path, utterance: RawUtterance) -> Path:
    """Return the absolute path of an utterance's audio file."""
    return (base / utterance.audio).absolute()


class RawIndex:
    """The rows of all sets, numbered from 0 in the order of the sets.

    Args:
        sets: raw rows by set.
        base: directory that relative audio paths start from.

    Attributes:
        files: number of different audio files, without those of duplicates alone.
    """

    def __init__(self, sets: Mapping[str, Sequence[RawUtterance]], base: Path) -> None:
        self._names, self._tables, self._base = list(sets), list(sets.values()), base
        self._ends = list(accumulate(map(len, self._tables)))
        ids, paths = array("Q"), array("Q")
        for table in self._tables:
            for utterance in table:
                ids.append(_hash(utterance.id))
                paths.append(_hash(str(audio_path(base, utterance))))
        self._duplicates = self._find_duplicates(np.frombuffer(ids, np.uint64))
        del ids
        paths_N = np.frombuffer(paths, np.uint64)
        order_N = np.argsort(paths_N, kind="stable").astype(np.uint32)
        if self._duplicates:
            order_N = order_N[~np.isin(order_N, list(self._duplicates))]
        self._paths_N, self._order_N = paths_N[order_N], order_N
        self.files = len(np.unique(self._paths_N))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def row(self, number: int) -> Row:
        """Return a row."""
        which = next(i for i, end in enumerate(self._ends) if number < end)
        begin = self._ends[which - 1] if which else 0
        return self._names[which], self._tables[which][number - begin]

    def is_duplicate(self, number: int) -> bool:
        """Return whether an earlier row has the same id."""
        return number in self._duplicates

    def rows_of_file(self, path: Path) -> list[int]:
        """Return the numbers of the rows with this audio file, without duplicates, in order."""
        key = np.uint64(_hash(str(path)))
        begin, end = (np.searchsorted(self._paths_N, key, side) for side in ("left", "right"))
        found = self._order_N[begin:end].tolist()
        if len(found) == 1:
            return found
        return [n for n in found if audio_path(self._base, self.row(n)[1]) == path]

    def _find_duplicates(self, ids_N: np.ndarray) -> frozenset[int]:
        sorted_N = np.sort(ids_N)
        repeated = np.unique(sorted_N[1:][sorted_N[1:] == sorted_N[:-1]])
        seen: set[str] = set()
        duplicates = []
        for number in np.flatnonzero(np.isin(ids_N, repeated)).tolist() if len(repeated) else ():
            name = self.row(number)[1].id
            if name in seen:
                duplicates.append(number)
            seen.add(name)
        return frozenset(duplicates)

    def rows(self) -> Iterator[tuple[int, str, RawUtterance]]:
        """Yield number, set and utterance of every row."""
        number = 0
        for name, table in zip(self._names, self._tables, strict=True):
            for utterance in table:
                yield number, name, utterance
                number += 1


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")

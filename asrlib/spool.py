"""Sort, index and summarise what would not fit into memory, in temporary files.

The files are unlinked as soon as they are open, so that a killed process leaves nothing behind.
They lie where Python's `tempfile` puts them, which the variable TMPDIR changes.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import IO, Generic, TypeVar, overload

import numpy as np

from asrlib.files import naming

T = TypeVar("T")

_RUN = 10_000  # items that are sorted in memory
_BLOCK = 1 << 14  # bytes of a run that are read at a time
_FLOATS = np.getbufsize()  # floats that numpy adds up at a time, and that are held or read


@contextlib.contextmanager
def spool() -> Iterator[IO[bytes]]:
    """Open a temporary file; the error of a full disk names its directory."""
    with naming(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
        yield file


def sorted_on_disk(items: Iterable[tuple[str, str]], run: int = _RUN) -> Iterator[tuple[str, str]]:
    """Sort pairs of a key and a line by their keys; pairs of equal keys keep their order.

    Args:
        items: the pairs; a line holds no line break.
        run: number of pairs held in memory.
    """
    items = iter(items)
    with spool() as file:
        runs: list[Iterable[tuple[str, str]]] = []
        while chunk := sorted(islice(items, run), key=itemgetter(0)):
            if len(chunk) < run:
                runs.append(chunk)
                break
            begin = file.tell()
            file.writelines(f"{json.dumps(key)}\t{line}\n".encode() for key, line in chunk)
            file.flush()
            runs.append(_pairs(file.fileno(), begin, file.tell()))
        del chunk
        yield from heapq.merge(*runs, key=itemgetter(0))


def _pairs(fd: int, begin: int, end: int) -> Iterator[tuple[str, str]]:
    """Read the pairs of a run, a block at a time."""
    rest = b""
    while begin < end:
        block = os.pread(fd, min(_BLOCK, end - begin), begin)
        begin += len(block)
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            key, _, value = line.partition(b"\t")
            yield json.loads(key), value.decode()


class IndexedLines(Sequence[T], Generic[T]):
    """The lines of a file, parsed each time they are asked for; 8 bytes of memory a line.

    It may be used in processes that are forked, since it never moves the position of the file.

    Args:
        file: the file, which must stay as it is.
        starts: where each line begins, and where the last one ends.
        parse: function that parses a line.
        chosen: numbers of the lines that count, in this order; None for all.
    """

    def __init__(
        self,
        file: IO[bytes],
        starts: array[int],
        parse: Callable[[bytes], T],
        chosen: array[int] | None = None,
    ) -> None:
        self._file, self._starts, self._parse, self._chosen = file, starts, parse, chosen

    @classmethod
    def of_file(cls, path: Path, parse: Callable[[bytes], T]) -> IndexedLines[T]:
        """Index the lines of a file that are not blank."""
        file = open(path, "rb")  # noqa: SIM115  (it lives as long as the index)
        starts, end = array("Q"), 0
        for line in file:
            if line.strip():
                starts.append(end)
            end += len(line)
        starts.append(end)
        return cls(file, starts, parse)

    @classmethod
    def spooled(cls, lines: Iterable[bytes], parse: Callable[[bytes], T]) -> IndexedLines[T]:
        """Write lines, which end with a line break, to a temporary file, and index them."""
        starts = array("Q", [0])
        with naming(Path(tempfile.gettempdir())):
            file = tempfile.TemporaryFile()  # noqa: SIM115
            for line in lines:
                file.write(line)
                starts.append(starts[-1] + len(line))
            file.flush()
        return cls(file, starts, parse)

    def chosen(self, numbers: Iterable[int]) -> IndexedLines[T]:
        """Return the lines of these numbers alone; 4 bytes of memory a line more."""
        old = self._chosen
        chosen = array("I", numbers if old is None else (old[n] for n in numbers))
        return type(self)(self._file, self._starts, self._parse, chosen)

    def __len__(self) -> int:
        return len(self._starts) - 1 if self._chosen is None else len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return self.chosen(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"no line {index} among {len(self)}")
        number = index % len(self)
        if self._chosen is not None:
            number = self._chosen[number]
        begin, end = self._starts[number], self._starts[number + 1]
        return self._parse(os.pread(self._file.fileno(), end - begin, begin))


class FloatSpool:
    """Numbers in a temporary file, with the statistics that numpy computes of them in memory."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._file = self._stack.enter_context(spool())
        self._recent: array[float] = array("d")
        self._written = 0

    def close(self) -> None:
        """Delete the file."""
        self._stack.close()

    def extend(self, values: Iterable[float]) -> None:
        """Append numbers."""
        self._recent.extend(values)
        if len(self._recent) >= _FLOATS:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._recent)
        self._file.flush()
        self._written += len(self._recent)
        del self._recent[:]

    def __len__(self) -> int:
        return self._written + len(self._recent)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all numbers, float64, in pieces, in their order."""
        self._flush()
        for begin in range(0, 8 * self._written, 8 * _FLOATS):
            yield np.frombuffer(os.pread(self._file.fileno(), 8 * _FLOATS, begin))

    def mean(self) -> float:
        """Return what `np.mean` of all numbers returns, to the last bit."""
        total = 0.0
        for block in self.blocks():
            total += float(block.sum())
        return total / len(self)

    def quantile(self, share: float) -> float:
        """Return what `np.quantile` of all numbers returns, to the last bit."""
        place = (len(self) - 1) * share
        below = int(place)
        low = self._ranked(below)
        high = self._ranked(min(below + 1, len(self) - 1))
        part = place - below
        if part >= 0.5:  # numpy interpolates from the nearer end
            return high - (high - low) * (1 - part)
        return low + (high - low) * part

    def _ranked(self, rank: int) -> float:
        """Return the number of a rank, counted from 0, by four passes, 16 bits each."""
        prefix = 0
        for shift in (48, 32, 16, 0):
            counts = np.zeros(1 << 16, np.int64)
            for block in self.blocks():
                keys = _ordered_keys(block)
                if shift < 48:
                    keys = keys[keys >> np.uint64(shift + 16) == np.uint64(prefix)]
                digits = (keys >> np.uint64(shift)) & np.uint64(0xFFFF)
                counts += np.bincount(digits.astype(np.int64), minlength=1 << 16)
            ends = np.cumsum(counts)
            digit = int(np.searchsorted(ends, rank, side="right"))
            rank -= int(ends[digit] - counts[digit])
            prefix = prefix << 16 | digit
        sign = 1 << 63
        bits = prefix ^ sign if prefix & sign else prefix ^ ((1 << 64) - 1)
        return float(np.array([bits], np.uint64).view(np.float64)[0])


def _ordered_keys(values: np.ndarray) -> np.ndarray:
    """Return integers in the same order as floats: their bits, flipped for negative numbers."""
    bits = values.view(np.uint64)
    sign = np.uint64(1 << 63)
    return np.where(bits & sign, ~bits, bits | sign)

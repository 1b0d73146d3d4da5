"""The speakers that cohorts are found among: their metadata and embeddings, without their errors.

Shapes: S speakers, D width of an embedding.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError


@dataclass(frozen=True)
class SpeakerTable:
    """Speakers with their metadata.

    Attributes:
        speakers: ids, all different.
        columns: metadata as text, one value for each speaker; "" where it is not known.
        vectors_SD: mean embeddings, with NaN for a speaker without one; None without embeddings.
    """

    speakers: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    vectors_SD: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.speakers)

    def column(self, name: str) -> tuple[str, ...]:
        """Return the values of a column; of a column that does not exist, empty values."""
        return self.columns.get(name, ("",) * len(self))

    def numbers(self, name: str) -> np.ndarray:
        """Return a column as float64 (S,); NaN where a value is no finite number."""
        return np.array([_number(value) for value in self.column(name)], dtype=np.float64)

    def select(self, keep_S: np.ndarray) -> SpeakerTable:
        """Return the speakers at the given indexes, or where a mask is true."""
        index = np.flatnonzero(keep_S) if keep_S.dtype == bool else keep_S
        return SpeakerTable(
            tuple(self.speakers[i] for i in index),
            {name: tuple(values[i] for i in index) for name, values in self.columns.items()},
            None if self.vectors_SD is None else self.vectors_SD[index],
        )

    def with_embeddings(self, tables: Sequence[EmbeddingTable]) -> SpeakerTable:
        """Add the mean embedding of each speaker.

        Utterances whose embedding is not finite are left out. A speaker without any other gets
        NaN, as one that is in no table.

        Raises:
            DataError: two tables have embeddings of different widths.
        """
        widths = {table.vectors_ND.shape[1] for table in tables}
        if len(widths) > 1:
            raise DataError(
                f"the embedding files have vectors of different widths: {sorted(widths)}",
                "give files that one extractor wrote",
            )
        merged = EmbeddingTable(
            tuple(f"{n} {i}" for n, table in enumerate(tables) for i in table.ids),
            tuple(s for table in tables for s in table.speakers),
            np.concatenate([table.vectors_ND for table in tables]),
        )
        names, means_KD = merged.finite().by_speaker()
        row = {name: k for k, name in enumerate(names)}
        vectors_SD = np.full((len(self), merged.vectors_ND.shape[1]), np.nan, dtype=np.float32)
        for s, speaker in enumerate(self.speakers):
            if speaker in row:
                vectors_SD[s] = means_KD[row[speaker]]
        return SpeakerTable(self.speakers, self.columns, vectors_SD)


def _number(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def read_table(path: Path, sets: Sequence[str] = ()) -> SpeakerTable:
    """Read speakers.tsv.

    Args:
        path: a table with tabs, a header and a column `speaker`.
        sets: the values of the column `set` to read; empty: all rows.

    Raises:
        DataError: the file is missing or no such table, or a speaker has two of the rows.
    """
    fix = "write a table with tabs, with a header and a column speaker"
    try:
        with open(path, encoding="utf-8-sig", newline="") as f:
            text = f.read()
        reader = csv.DictReader(
            io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE, restval=""
        )
        rows = [row for row in reader if not sets or row.get("set") in sets]
        names = [name for name in reader.fieldnames or () if name]
    except FileNotFoundError:
        raise DataError(f"{path}: missing", "run the manifests stage (1) first") from None
    except (UnicodeDecodeError, csv.Error) as e:
        raise DataError(f"{path}: is not a table: {e}", fix) from None
    if "speaker" not in names:
        raise DataError(f"{path}: has no column 'speaker'", fix)
    lines = text.split("\n")  # the last one is empty if the text ends with a newline
    if lines[-1] and lines[-1].count("\t") < lines[0].count("\t"):
        raise DataError(f"{path}: is cut short: its last line ends early", "write it again")
    speakers = tuple((row["speaker"] or "").strip() for row in rows)
    seen: set[str] = set()
    for speaker in speakers:
        if speaker in seen:
            raise DataError(
                f"{path}: speaker {speaker} has two rows" + (f" in {sets}" if sets else ""),
                "keep one row for each speaker",
            )
        seen.add(speaker)
    columns = {
        name: tuple((row[name] or "").strip() for row in rows)
        for name in names
        if name != "speaker"
    }
    return SpeakerTable(speakers, columns)

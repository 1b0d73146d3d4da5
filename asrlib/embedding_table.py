"""A table of speaker embeddings, one vector for each utterance, in a NumPy file.

The file is an `.npz` of arrays without Python objects, so that reading runs no code. Programs other
than this one can write it: `ids` and `speakers` are arrays of strings, `vectors` is an array of
numbers with one row for each id.

Shapes: N utterances, S speakers, D width of an embedding.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asrlib.errors import DataError
from asrlib.files import atomic_path

_FIX = "write it with python -m asrlib embed, or as asrlib/embedding_table.py describes"


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings of utterances.

    Attributes:
        ids: utterance ids, all different.
        speakers: the speaker of each utterance; empty if it has none or several.
        vectors_ND: one row for each utterance, float32; a row may contain NaN if its utterance
            could not be embedded.
    """

    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    vectors_ND: np.ndarray

    def finite(self) -> EmbeddingTable:
        """Return the table without the utterances whose embedding is not finite."""
        keep_N = np.isfinite(self.vectors_ND).all(axis=1)
        return EmbeddingTable(
            tuple(i for i, keep in zip(self.ids, keep_N, strict=True) if keep),
            tuple(s for s, keep in zip(self.speakers, keep_N, strict=True) if keep),
            self.vectors_ND[keep_N],
        )

    @classmethod
    def joined(cls, tables: Sequence[EmbeddingTable]) -> EmbeddingTable:
        """Put tables of different utterances, one or more, below one another.

        Raises:
            DataError: two tables have the same utterance, or vectors of different widths.
        """
        ids = tuple(id_ for table in tables for id_ in table.ids)
        widths = sorted({table.vectors_ND.shape[1] for table in tables})
        if len(widths) > 1:
            raise DataError(
                f"tables of embeddings: their vectors have different widths, {widths}",
                "embed all sets with one model",
            )
        if len(set(ids)) < len(ids):
            twice = next(id_ for id_, count in Counter(ids).items() if count > 1)
            raise DataError(
                f"tables of embeddings: utterance {twice} is in two of them",
                "name each set once, and sets without a common utterance",
            )
        speakers = tuple(s for table in tables for s in table.speakers)
        return cls(ids, speakers, np.concatenate([table.vectors_ND for table in tables]))

    def by_speaker(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Average the unit-length embeddings of each speaker's utterances.

        Returns:
            The speakers, sorted, and their mean vectors (S, D).
        """
        length_N1 = np.linalg.norm(self.vectors_ND, axis=1, keepdims=True)
        unit_ND = self.vectors_ND / np.maximum(length_N1, 1e-12)
        names, index_N = np.unique(np.array(self.speakers, dtype=str), return_inverse=True)
        sums_SD = np.zeros((len(names), self.vectors_ND.shape[1]), dtype=np.float64)
        np.add.at(sums_SD, index_N, unit_ND)
        counts_S = np.bincount(index_N, minlength=len(names))
        return tuple(names.tolist()), (sums_SD / counts_S[:, None]).astype(np.float32)

    def write(self, path: Path) -> None:
        """Write the table to an `.npz` file, whole or not at all."""
        with atomic_path(path) as temp, open(temp, "wb") as f:
            np.savez(
                f,
                ids=_strings(self.ids),
                speakers=_strings(self.speakers),
                vectors=self.vectors_ND.astype(np.float32),
            )

    @classmethod
    def read(cls, path: Path) -> EmbeddingTable:
        """Read a table.

        Raises:
            DataError: the file is missing, is no such table, or contradicts itself.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                ids, speakers, vectors_ND = file["ids"], file["speakers"], file["vectors"]
        except FileNotFoundError:
            raise DataError(f"{path}: there is no such file", _FIX) from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
            raise DataError(f"{path}: is no table of embeddings: {e}", _FIX) from e
        shapes = ids.shape, speakers.shape, vectors_ND.shape[:1]
        if len(set(shapes)) > 1 or vectors_ND.ndim != 2:
            raise DataError(
                f"{path}: has {ids.size} ids, {speakers.size} speakers and vectors of shape "
                f"{list(vectors_ND.shape)}",
                _FIX,
            )
        names = tuple(map(str, ids))
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{path}: has utterance {twice} twice", "keep one of its rows")
        return cls(names, tuple(map(str, speakers)), vectors_ND.astype(np.float32))


def _strings(values: Sequence[str]) -> np.ndarray:
    return np.array(values, dtype=str) if values else np.zeros(0, dtype="<U1")

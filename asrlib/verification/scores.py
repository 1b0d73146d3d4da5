"""Cosine scores of trials, and the file that holds them.

Shapes: N rows of the table, D width of an embedding, T trials.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError
from asrlib.files import atomic_path
from asrlib.verification.trials import Trials

SCORES_FILE = "scores.npz"

_BLOCK = 1 << 22  # numbers of a block: limits memory to a few times 16 MiB
_FIX = "run python -m asrlib score-verification again"


@dataclass(frozen=True)
class ScoredTrials:
    """Trials with the names of their sides and a score each; a high score means the same voice.

    Attributes:
        ids, speakers: id and speaker of each row.
        trials: pairs of rows.
        scores_T: float32.
    """

    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    trials: Trials
    scores_T: np.ndarray

    def write(self, path: Path) -> None:
        """Write the scores to a compressed `.npz` file, whole or not at all."""
        trials = self.trials
        with atomic_path(path) as temp, open(temp, "wb") as f:
            np.savez_compressed(
                f,
                ids=np.array(self.ids, dtype=str),
                speakers=np.array(self.speakers, dtype=str),
                enrol=trials.enrol_T,
                test=trials.test_T,
                target=trials.target_T,
                symmetric=np.array(trials.symmetric),
                scores=self.scores_T,
            )

    @classmethod
    def read(cls, path: Path) -> ScoredTrials:
        """Read the scores of a file.

        Raises:
            DataError: the file is missing or holds no scores.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = [file[k] for k in ("enrol", "test", "target")]
                trials = Trials(*columns, symmetric=bool(file["symmetric"]))
                ids, speakers = (tuple(map(str, file[k])) for k in ("ids", "speakers"))
                return cls(ids, speakers, trials, file["scores"])
        except FileNotFoundError:
            raise DataError(f"{path}: there is no such file", _FIX) from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
            raise DataError(f"{path}: holds no scores: {e}", _FIX) from e


def cosine_scores(table: EmbeddingTable, trials: Trials) -> ScoredTrials:
    """Score each trial with the cosine of its two embeddings.

    Rows are multiplied as matrices where the trials hold a good part of all pairs, and one by one
    where they are sparse; both in blocks of limited memory.

    Args:
        table: embeddings, finite and not zero.
        trials: pairs of rows of the table.
    """
    unit_ND = table.vectors_ND / np.linalg.norm(table.vectors_ND, axis=1, keepdims=True)
    count, width = unit_ND.shape
    dense = 8 * len(trials) > len(np.unique(trials.enrol_T)) * count
    scores_T = _dense(unit_ND, trials, max(1, _BLOCK // max(count, 1))) if dense else None
    if scores_T is None:
        scores_T = _sparse(unit_ND, trials, max(1, _BLOCK // width))
    return ScoredTrials(table.ids, table.speakers, trials, scores_T)


def _dense(unit_ND: np.ndarray, trials: Trials, rows: int) -> np.ndarray:
    """Multiply `rows` enrolled rows at a time with all rows, and pick the trials."""
    scores_T = np.empty(len(trials), dtype=np.float32)
    order_T = np.argsort(trials.enrol_T, kind="stable")
    enrol_T, test_T = trials.enrol_T[order_T], trials.test_T[order_T]
    for first in range(0, len(unit_ND), rows):
        begin, end = np.searchsorted(enrol_T, [first, first + rows])
        block_RN = unit_ND[first : first + rows] @ unit_ND.T
        scores_T[order_T[begin:end]] = block_RN[enrol_T[begin:end] - first, test_T[begin:end]]
    return scores_T


def _sparse(unit_ND: np.ndarray, trials: Trials, size: int) -> np.ndarray:
    """Multiply the two rows of each trial, `size` trials at a time."""
    scores_T = np.empty(len(trials), dtype=np.float32)
    for first in range(0, len(trials), size):
        part = slice(first, first + size)
        enrol_BD, test_BD = unit_ND[trials.enrol_T[part]], unit_ND[trials.test_T[part]]
        scores_T[part] = np.einsum("bd,bd->b", enrol_BD, test_BD)
    return scores_T

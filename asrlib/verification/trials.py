"""Trials of speaker verification: pairs of rows of a table of embeddings.

A target trial pairs two utterances of one speaker, an impostor trial those of two speakers. Two
utterances of one session are no target trial: they also share the microphone and the room, so a
high score would prove nothing about the voice.

Shapes: N rows of the table, M of them in trials, T trials.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError
from asrlib.seeds import derive_seed

log = logging.getLogger(__name__)

MAX_PAIRS = 150_000_000  # a pair takes up to 142 bytes until it is judged, so these take 21 GB


@dataclass(frozen=True)
class Trials:
    """Pairs of rows of a table.

    Attributes:
        enrol_T, test_T: rows of the two sides, int32.
        target_T: whether both sides are of the same speaker.
        symmetric: whether each pair stands for both orders, so that either side may be the
            enrolled one.
    """

    enrol_T: np.ndarray
    test_T: np.ndarray
    target_T: np.ndarray
    symmetric: bool

    def keep(self, keep_T: np.ndarray) -> Trials:
        """Return the trials that a mask selects."""
        return Trials(
            self.enrol_T[keep_T], self.test_T[keep_T], self.target_T[keep_T], self.symmetric
        )

    def __len__(self) -> int:
        return len(self.target_T)


def codes(names: Sequence[str]) -> np.ndarray:
    """Number names so that equal names have equal numbers, int32 (N)."""
    if not names:
        return np.zeros(0, dtype=np.int32)
    return np.unique(np.array(names, dtype=str), return_inverse=True)[1].astype(np.int32)


def all_pairs(table: EmbeddingTable, sessions: Mapping[str, str]) -> Trials:
    """Pair every two utterances once, without the pairs of one speaker in one session.

    Args:
        table: N embeddings.
        sessions: session of each utterance; one that is missing is a session of its own.

    Raises:
        DataError: there are more pairs than memory holds.
    """
    count = len(table.ids)
    if count * (count - 1) // 2 > MAX_PAIRS:
        raise DataError(
            f"trials: {count:,} utterances make {count * (count - 1) // 2:,} pairs, more than "
            f"the {MAX_PAIRS:,} that memory is meant to hold",
            "give a list of trials (--trials, --dev-trials), or set verification.trials=enrol",
        )
    per_row_N = np.arange(count - 1, -1, -1)
    enrol_T = np.repeat(np.arange(count, dtype=np.int32), per_row_N)
    starts_N = np.concatenate([[0], np.cumsum(per_row_N)[:-1]]) if count else per_row_N
    test_T = (np.arange(len(enrol_T)) - starts_N[enrol_T] + enrol_T + 1).astype(np.int32)
    speaker_N = codes(table.speakers)
    target_T = speaker_N[enrol_T] == speaker_N[test_T]
    # A name that no session can have: a session of its own.
    session_N = codes([sessions.get(i, f"\n{i}") for i in table.ids])
    together_T = target_T & (session_N[enrol_T] == session_N[test_T])
    return Trials(enrol_T, test_T, target_T, symmetric=True).keep(~together_T)


def without_idle_rows(table: EmbeddingTable, trials: Trials) -> tuple[EmbeddingTable, Trials]:
    """Leave out the rows of a table that no trial names, so that no speaker is without a trial."""
    rows_M = np.union1d(trials.enrol_T, trials.test_T)
    enrol_T, test_T = (
        np.searchsorted(rows_M, side_T).astype(np.int32)
        for side_T in (trials.enrol_T, trials.test_T)
    )
    kept = EmbeddingTable(
        tuple(table.ids[row] for row in rows_M),
        tuple(table.speakers[row] for row in rows_M),
        table.vectors_ND[rows_M],
    )
    return kept, Trials(enrol_T, test_T, trials.target_T, trials.symmetric)


def same_group(trials: Trials, speakers: Sequence[str], groups: Mapping[str, str]) -> Trials:
    """Keep target trials and the impostor trials of two speakers of the same group.

    Args:
        trials: pairs of rows.
        speakers: speaker of each row.
        groups: group of each speaker; a speaker without one is in no impostor trial.
    """
    known_N = np.array([s in groups for s in speakers], dtype=bool)
    group_N = codes([groups.get(s, "") for s in speakers])
    equal_T = group_N[trials.enrol_T] == group_N[trials.test_T]
    equal_T &= known_N[trials.enrol_T] & known_N[trials.test_T]
    return trials.keep(trials.target_T | equal_T)


def enrol_and_test(
    table: EmbeddingTable,
    size: int,
    values: Mapping[str, str] | None,
    sessions: Mapping[str, str],
    seed: int,
) -> tuple[EmbeddingTable, Trials]:
    """Enrol each speaker on `size` utterances and test on `size` others.

    A side is the mean of its utterances' embeddings of length one. All 2 x `size` utterances of a
    speaker differ in their value (for example the word that is spoken), so that the score cannot
    rest on what is said. Which values and utterances are taken depends on the seed and the names
    alone, so that two systems get the same trials. Speakers with too few values are left out.

    Args:
        table: embeddings of utterances.
        size: number of utterances on each side.
        values: value of each utterance; an utterance without one is left out. None if all
            utterances may be combined.
        sessions: session of each utterance; if both sides of a speaker share one, they are no
            target trial.
        seed: seed of the choice.

    Returns:
        A table of two rows for each speaker, `SPEAKER/enrol` and `SPEAKER/test`, and all pairs of
        an enrolled and a tested row.

    Raises:
        DataError: no speaker has enough utterances.
    """
    chosen = _choose(table, 2 * size, values, seed)
    left_out = len(set(table.speakers)) - len(chosen)
    if not chosen:
        raise DataError(
            f"trials: enrol: no speaker has {2 * size} utterances that may be combined",
            "lower verification.enrol, or name another verification.enrol_attribute",
        )
    if left_out:
        log.warning(
            "%d speakers are left out: they have fewer than %d utterances that may be combined",
            *(left_out, 2 * size),
        )
    length_N1 = np.linalg.norm(table.vectors_ND, axis=1, keepdims=True)
    unit_ND = table.vectors_ND / length_N1
    ids, speakers, vectors, shared = [], [], [], []
    for speaker, rows in chosen.items():
        sides = rows[:size], rows[size:]
        for name, side in zip(("enrol", "test"), sides, strict=True):
            ids.append(f"{speaker}/{name}")
            speakers.append(speaker)
            vectors.append(unit_ND[side].mean(axis=0))
        first, second = ({sessions.get(table.ids[r], table.ids[r]) for r in s} for s in sides)
        shared.append(bool(first & second))
    count = len(chosen)
    enrol_T = np.repeat(np.arange(0, 2 * count, 2, dtype=np.int32), count)
    test_T = np.tile(np.arange(1, 2 * count, 2, dtype=np.int32), count)
    target_T = enrol_T + 1 == test_T
    trials = Trials(enrol_T, test_T, target_T, symmetric=False)
    together_T = target_T & np.array(shared)[enrol_T // 2]
    sides_table = EmbeddingTable(tuple(ids), tuple(speakers), np.stack(vectors))
    return sides_table, trials.keep(~together_T)


def _choose(
    table: EmbeddingTable, count: int, values: Mapping[str, str] | None, seed: int
) -> dict[str, list[int]]:
    """Choose `count` rows of different values for each speaker who has as many values."""
    rows: dict[str, dict[str, list[int]]] = {}
    for row, (id_, speaker) in enumerate(zip(table.ids, table.speakers, strict=True)):
        value = id_ if values is None else values.get(id_)
        if value is not None:
            rows.setdefault(speaker, {}).setdefault(value, []).append(row)
    return {
        speaker: [
            min(of_speaker[value], key=lambda r: derive_seed(seed, table.ids[r]))
            for value in sorted(of_speaker, key=lambda v: derive_seed(seed, speaker, v))[:count]
        ]
        for speaker, of_speaker in sorted(rows.items())
        if len(of_speaker) >= count
    }

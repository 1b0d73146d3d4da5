"""Word and character error counts, kept as sums; the rate is divided last.

Alignment by jiwer (Levenshtein, unit costs). Characters include the spaces between words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jiwer
from pydantic import computed_field

from asrlib.json_record import JsonRecord
from asrlib.scoring.records import Utterance

Kind = Literal["C", "S", "I", "D"]


@dataclass(frozen=True)
class ErrorRate(JsonRecord):
    """Counts whose sum over utterances is the count of the whole.

    >>> ErrorRate(1, 0, 1, 4) + ErrorRate(0, 1, 0, 2)
    ErrorRate(insertions=1, deletions=1, substitutions=1, words=6)

    Attributes:
        words: of the reference (characters, for a character error rate).
    """

    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0
    words: int = 0

    @computed_field
    @property
    def errors(self) -> int:
        return self.insertions + self.deletions + self.substitutions

    @property
    def correct(self) -> int:
        return self.words - self.deletions - self.substitutions

    @property
    def rate(self) -> float:
        """Errors per reference word; of no word at all: 0 without errors, else infinite."""
        if self.words == 0:
            return math.inf if self.errors else 0.0
        return self.errors / self.words

    @computed_field
    @property
    def percent(self) -> float | None:
        """The rate in per cent; None where it is infinite."""
        return 100 * self.rate if math.isfinite(self.rate) else None

    def __add__(self, other: ErrorRate) -> ErrorRate:
        return ErrorRate(
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.substitutions + other.substitutions,
            self.words + other.words,
        )

    @classmethod
    def sum(cls, rates: Iterable[ErrorRate]) -> ErrorRate:
        return sum(rates, start=cls())

    def line(self, label: str = "WER") -> str:
        """Kaldi's line: `%WER 25.13 [ 1418 / 5643, 138 ins, 192 del, 1088 sub ]`."""
        return (
            f"%{label} {100 * self.rate:.2f} [ {self.errors} / {self.words}, "
            f"{self.insertions} ins, {self.deletions} del, {self.substitutions} sub ]"
        )


class Op(NamedTuple):
    """One step of an alignment: Correct, Substitution, Insertion (no ref), Deletion (no hyp)."""

    kind: Kind
    ref: int | None
    hyp: int | None


@dataclass(frozen=True)
class Aligned:
    """An utterance with its alignment and counts."""

    utterance: Utterance
    ops: tuple[Op, ...]
    words: ErrorRate
    chars: ErrorRate


def align(utterances: Sequence[Utterance]) -> list[Aligned]:
    """Align each hypothesis with its reference, words and characters; empty ones are legal."""
    if not utterances:
        return []
    refs = [" ".join(u.ref) for u in utterances]
    hyps = [" ".join(u.hyp) for u in utterances]
    words = jiwer.process_words(refs, hyps).alignments
    chars = jiwer.process_characters(refs, hyps).alignments
    aligned = []
    for utterance, word_chunks, char_chunks in zip(utterances, words, chars, strict=True):
        ops = tuple(op for chunk in word_chunks for op in _ops(chunk))
        char_ops = [op for chunk in char_chunks for op in _ops(chunk)]
        aligned.append(Aligned(utterance, ops, _count(ops), _count(char_ops)))
    return aligned


def _ops(chunk: jiwer.AlignmentChunk) -> list[Op]:
    refs = range(chunk.ref_start_idx, chunk.ref_end_idx)
    hyps = range(chunk.hyp_start_idx, chunk.hyp_end_idx)
    if chunk.type == "insert":
        return [Op("I", None, h) for h in hyps]
    if chunk.type == "delete":
        return [Op("D", r, None) for r in refs]
    kind: Kind = "C" if chunk.type == "equal" else "S"
    return [Op(kind, r, h) for r, h in zip(refs, hyps, strict=True)]


def _count(ops: Sequence[Op]) -> ErrorRate:
    kinds = [op.kind for op in ops]
    return ErrorRate(
        insertions=kinds.count("I"),
        deletions=kinds.count("D"),
        substitutions=kinds.count("S"),
        words=len(kinds) - kinds.count("I"),
    )


def sum_by_speaker(aligned: Iterable[Aligned]) -> dict[str, ErrorRate]:
    """Word counts of each speaker, in order of speaker."""
    sums: dict[str, ErrorRate] = {}
    for a in aligned:
        speaker = a.utterance.speaker
        sums[speaker] = sums.get(speaker, ErrorRate()) + a.words
    return dict(sorted(sums.items()))

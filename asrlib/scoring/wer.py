"""Word and character error counts, which are kept as sums; a rate is computed last.

jiwer aligns hypothesis and reference (Levenshtein distance with unit costs). The spaces between
words count as characters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

import jiwer
from pydantic import computed_field

from asrlib.json_record import JsonRecord
from asrlib.scoring.records import Utterance

Kind = Literal["C", "S", "I", "D"]
_AT_A_TIME = 500  # utterances


@dataclass(frozen=True)
class ErrorRate(JsonRecord):
    """Error counts of an utterance or a set; the counts of utterances add up to those of the set.

    >>> ErrorRate(1, 0, 1, 4) + ErrorRate(0, 1, 0, 2)
    ErrorRate(insertions=1, deletions=1, substitutions=1, words=6)

    Attributes:
        insertions, deletions, substitutions: numbers of errors of each kind.
        words: number of words of the reference (of characters, for a character error rate).
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
        """Errors per reference word; without reference words, 0 if no errors, else infinite."""
        if self.words == 0:
            return math.inf if self.errors else 0.0
        return self.errors / self.words

    @computed_field
    @property
    def percent(self) -> float | None:
        """The rate in per cent; None if it is infinite."""
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
        """Format the counts as Kaldi does.

        The line looks like `%WER 25.13 [ 1418 / 5643, 138 ins, 192 del, 1088 sub ]`.
        """
        return (
            f"%{label} {100 * self.rate:.2f} [ {self.errors} / {self.words}, "
            f"{self.insertions} ins, {self.deletions} del, {self.substitutions} sub ]"
        )


class Op(NamedTuple):
    """One step of an alignment.

    Attributes:
        kind: C (correct), S (substitution), I (insertion) or D (deletion).
        ref: index of the reference word; None at an insertion.
        hyp: index of the recognised word; None at a deletion.
    """

    kind: Kind
    ref: int | None
    hyp: int | None


@dataclass(frozen=True)
class Aligned:
    """An utterance with its word alignment and its word and character error counts."""

    utterance: Utterance
    ops: tuple[Op, ...]
    words: ErrorRate
    chars: ErrorRate


def iter_aligned(utterances: Iterable[Utterance]) -> Iterator[Aligned]:
    """Align utterances as `align` does, of which few are in memory at a time."""
    utterances = iter(utterances)
    while some := list(islice(utterances, _AT_A_TIME)):
        yield from align(some)


def align(utterances: Sequence[Utterance]) -> list[Aligned]:
    """Align each hypothesis with its reference, by words and by characters; both may be empty."""
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
    """Add up the word error counts of each speaker; the result is sorted by speaker."""
    sums: dict[str, ErrorRate] = {}
    for a in aligned:
        speaker = a.utterance.speaker
        sums[speaker] = sums.get(speaker, ErrorRate()) + a.words
    return dict(sorted(sums.items()))

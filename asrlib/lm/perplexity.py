"""Perplexity of an n-gram model on transcripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asrlib.lm.kneser_ney import BEGIN, END, NgramTable
from asrlib.text.tokenizer import UNKNOWN, Tokenizer


@dataclass(frozen=True)
class Perplexity:
    """Perplexities of a text; the end of a sentence counts as a word.

    Attributes:
        all: of all sentences.
        spelled: of those with three single letters or more; None if there are none.
        words: number of words, without ends.
        skipped: number of sentences that were left out, for characters without a piece.
    """

    all: float
    spelled: float | None
    words: int
    skipped: int

    def __str__(self) -> str:
        told = "" if self.spelled is None else f", {self.spelled:.2f} where letters are spelled"
        left = f", {self.skipped} sentences left out" if self.skipped else ""
        return f"{self.all:.2f} per word{told} ({self.words:,} words{left})"


def perplexity(table: NgramTable, tokenizer: Tokenizer, texts: Sequence[str]) -> Perplexity:
    """Measure the perplexity per word of a model over pieces: exp(-log-probability / words)."""
    total = [0.0, 0]
    letters = [0.0, 0]
    skipped = sentences = 0
    for text in texts:
        pieces = [tokenizer.piece(i) for i in tokenizer.encode(text)]
        if UNKNOWN in pieces:
            skipped += 1
            continue
        symbols = [BEGIN, *pieces, END]
        log_prob = sum(table.log_prob(symbols[:i], symbols[i]) for i in range(1, len(symbols)))
        sentences += 1
        words = text.split()
        for sums in (total, letters) if sum(len(w) == 1 for w in words) >= 3 else (total,):
            sums[0] += log_prob
            sums[1] += len(words) + 1
    return Perplexity(
        math.exp(-total[0] / total[1]) if total[1] else math.nan,
        math.exp(-letters[0] / letters[1]) if letters[1] else None,
        int(total[1]) - sentences,
        skipped,
    )

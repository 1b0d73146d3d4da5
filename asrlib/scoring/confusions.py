"""What goes wrong: errors by class of word, confused words, worst words and worst speakers.

All of it follows from the word alignments. Utterances that are private count in every rate, but
their words are never named.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from asrlib.scoring.wer import Aligned, ErrorRate

WordClass = Literal["letters", "digits", "words"]
CLASSES: tuple[WordClass, ...] = get_args(WordClass)
_TO_NINETEEN = (
    *("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN"),
    *("ELEVEN", "TWELVE", "THIRTEEN", "FOURTEEN", "FIFTEEN", "SIXTEEN", "SEVENTEEN", "EIGHTEEN"),
    "NINETEEN",
)
_TENS = ("TWENTY", "THIRTY", "FORTY", "FIFTY", "SIXTY", "SEVENTY", "EIGHTY", "NINETY")
_NUMBERS = frozenset({*_TO_NINETEEN, *_TENS, "HUNDRED", "THOUSAND"})
_EITHER: Mapping[str, WordClass] = {"A": "letters", "I": "letters", "OH": "digits"}
_NOTHING = "-"  # stands for no word, in insertions and deletions


def word_classes(words: Sequence[str]) -> list[WordClass]:
    """Return the class of each word of an utterance: a letter, a number, or another word.

    A, I and OH are words unless a letter or number stands beside them.

    >>> word_classes(["I", "SAID", "A", "B", "OH", "NINE"])
    ['words', 'words', 'letters', 'letters', 'digits', 'digits']
    """

    def sure(i: int) -> WordClass | None:
        if not 0 <= i < len(words) or words[i] in _EITHER:
            return None
        if len(words[i]) == 1 and words[i].isalpha():
            return "letters"
        return "digits" if words[i] in _NUMBERS or words[i].isdigit() else None

    def beside(i: int) -> bool:
        """Whether a letter or number stands beside the run of unsure words that i belongs to."""
        before, after = i - 1, i + 1
        while before >= 0 and words[before] in _EITHER:
            before -= 1
        while after < len(words) and words[after] in _EITHER:
            after += 1
        return sure(before) is not None or sure(after) is not None

    return [
        (_EITHER[word] if beside(i) else "words") if word in _EITHER else sure(i) or "words"
        for i, word in enumerate(words)
    ]


def class_errors(aligned: Iterable[Aligned]) -> dict[WordClass, ErrorRate]:
    """Count errors by class of the reference word, insertions by that of the inserted word."""
    counts: Counter[tuple[WordClass, str]] = Counter()
    for a in aligned:
        refs, hyps = word_classes(a.utterance.ref), word_classes(a.utterance.hyp)
        for op in a.ops:
            if op.ref is not None:
                counts[refs[op.ref], op.kind] += 1
            elif op.hyp is not None:
                counts[hyps[op.hyp], op.kind] += 1
    return {
        name: ErrorRate(
            counts[name, "I"],
            counts[name, "D"],
            counts[name, "S"],
            sum(counts[name, kind] for kind in "CSD"),
        )
        for name in CLASSES
    }


@dataclass(frozen=True)
class Confusion:
    """How often a word was recognised as another; `-` stands for no word."""

    kind: WordClass
    ref: str
    hyp: str
    count: int


def confusions(aligned: Iterable[Aligned], most: int = 10) -> list[Confusion]:
    """List the most frequent errors of each class, without private utterances.

    Args:
        most: largest number of errors of a class.
    """
    counts: Counter[tuple[WordClass, str, str]] = Counter()
    for a in aligned:
        ref, hyp = a.utterance.ref, a.utterance.hyp
        if a.utterance.private:
            continue
        refs, hyps = word_classes(ref), word_classes(hyp)
        for op in a.ops:
            if op.kind == "C":
                continue
            said = _NOTHING if op.ref is None else ref[op.ref]
            heard = _NOTHING if op.hyp is None else hyp[op.hyp]
            kind = refs[op.ref] if op.ref is not None else hyps[op.hyp or 0]
            counts[kind, said, heard] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        Confusion(*key, count)
        for name in CLASSES
        for key, count in [item for item in ordered if item[0][0] == name][:most]
    ]


@dataclass(frozen=True)
class WordErrors:
    """A reference word, how often it occurs, and how often it was not recognised."""

    word: str
    occurrences: int
    missed: int


def worst_words(
    aligned: Iterable[Aligned], most: int = 10, occurrences: int = 3
) -> list[WordErrors]:
    """List the words with the most substitutions and deletions, without private utterances.

    Args:
        most: largest number of words.
        occurrences: smallest number of occurrences of a word.
    """
    seen: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for a in aligned:
        if not a.utterance.private:
            seen.update(a.utterance.ref)
            missed.update(
                a.utterance.ref[op.ref] for op in a.ops if op.kind in "SD" and op.ref is not None
            )
    found = [WordErrors(w, n, missed[w]) for w, n in seen.items() if n >= occurrences and missed[w]]
    return sorted(found, key=lambda w: (-w.missed, w.occurrences, w.word))[:most]


def worst_speakers(by_speaker: Mapping[str, ErrorRate], share: float = 0.1) -> list[str]:
    """Return the speakers with the highest error rates, the worst first.

    Args:
        by_speaker: sums of each speaker; those without words are left out.
        share: of the speakers, rounded up.
    """
    known = {name: errors for name, errors in by_speaker.items() if errors.words}
    ordered = sorted(known, key=lambda name: (-known[name].rate, name))
    return ordered[: math.ceil(share * len(ordered))]


def worst_tenth(by_speaker: Mapping[str, ErrorRate]) -> ErrorRate:
    """Add up the counts of the tenth of the speakers with the highest error rates.

    The speakers are chosen by the errors that are counted, so that the rate is above that of these
    speakers on other utterances.
    """
    return ErrorRate.sum(by_speaker[name] for name in worst_speakers(by_speaker))


def mean_of_speakers(by_speaker: Mapping[str, ErrorRate]) -> float:
    """Return the mean over speakers of their error rates, in per cent; NaN without speakers."""
    rates = [100 * errors.rate for errors in by_speaker.values() if errors.words]
    return sum(rates) / len(rates) if rates else math.nan

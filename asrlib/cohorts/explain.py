"""Say what the bottom cohort is: its attributes, its errors, and what explains its gap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asrlib.cohort_file import BOTTOM
from asrlib.cohorts.enrichment import Enrichment, enrichment
from asrlib.cohorts.regression import Adjustment, adjust
from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.scoring.groups import UNKNOWN
from asrlib.scoring.wer import Aligned, ErrorRate, sum_by_speaker

EXPLANATION_FILE = "explanation.json"
DIFFICULTY = "difficulty of the words"
_WORDS = 5  # worst words shown
_PRIOR = 5.0  # occurrences at the overall rate that are added to those of a word


@dataclass(frozen=True)
class WordErrors(JsonRecord):
    """A word that the bottom cohort says; counts of the reference word, without insertions.

    Attributes:
        excess: errors beyond those that the others' rate of this word would give.
    """

    word: str
    errors: int
    count: int
    other_errors: int
    other_count: int
    excess: float


@dataclass(frozen=True)
class Explanation(JsonRecord):
    """What the bottom cohort of one method shares, on the speakers of one set.

    Attributes:
        method, set: of which cohorts, and on which decoded set.
        bottom_speakers, other_speakers: numbers of speakers whose cohort is known.
        bottom, others: error counts by kind.
        enriched: attributes and pairs of attributes, by p-value.
        words: the words with the largest excess of errors; private utterances have no part in it.
        adjustment: the gap with other differences held fixed.
    """

    method: str
    set: str
    bottom_speakers: int
    other_speakers: int
    bottom: ErrorRate
    others: ErrorRate
    enriched: tuple[Enrichment, ...]
    words: tuple[WordErrors, ...]
    adjustment: Adjustment


def explain(
    method: str,
    test_set: str,
    cohorts: Mapping[str, str],
    table: SpeakerTable,
    aligned: Sequence[Aligned],
    columns: Sequence[str],
    bands: Mapping[str, Sequence[float]],
    covariates: Sequence[str],
) -> Explanation:
    """Explain the bottom cohort among speakers that were decoded and have a cohort.

    Args:
        cohorts: cohort by speaker.
        table: metadata of the speakers.
        aligned: the decoded utterances.
        columns: columns for the enrichment, with bands of numbers.
        covariates: columns with numbers that the regression holds fixed.

    Raises:
        DataError: no speaker has a cohort, none is in the bottom cohort, or all are.
    """
    known = [a for a in aligned if cohorts.get(a.utterance.speaker, UNKNOWN) != UNKNOWN]
    errors = sum_by_speaker(known)
    keep_S = np.array([s in errors for s in table.speakers], dtype=bool)
    table = table.select(keep_S)
    bottom_S = np.array([cohorts[s] == BOTTOM for s in table.speakers], dtype=bool)
    if not len(bottom_S):
        raise DataError(
            f"set {test_set}: no decoded speaker has a cohort of {method}: they are of other "
            "speakers",
            "choose another set or half, or find the cohorts of this corpus",
        )
    if not bottom_S.any() or bottom_S.all():
        raise DataError(
            f"set {test_set}: {int(bottom_S.sum())} of {len(bottom_S)} speakers are in the bottom "
            f"cohort of {method}, so there is no comparison",
            "explain it on a set with speakers of both kinds",
        )
    rates = [errors[s] for s in table.speakers]
    sides = [[a for a in known if (cohorts[a.utterance.speaker] == BOTTOM) == b] for b in (1, 0)]
    numbers = {name: table.numbers(name) for name in covariates if name in table.columns}
    hard = _difficulty(known, {s for s, b in zip(table.speakers, bottom_S, strict=True) if b})
    numbers[DIFFICULTY] = np.array([hard[s] for s in table.speakers])
    return Explanation(
        method=method,
        set=test_set,
        bottom_speakers=int(bottom_S.sum()),
        other_speakers=int((~bottom_S).sum()),
        bottom=ErrorRate.sum(a.words for a in sides[0]),
        others=ErrorRate.sum(a.words for a in sides[1]),
        enriched=enrichment(table, bottom_S, columns, bands),
        words=worst_words(sides[0], sides[1]),
        adjustment=adjust(
            np.array([r.errors for r in rates], dtype=np.float64),
            np.array([r.words for r in rates], dtype=np.float64),
            bottom_S,
            numbers,
        ),
    )


def worst_words(bottom: Sequence[Aligned], others: Sequence[Aligned]) -> tuple[WordErrors, ...]:
    """Return the words with the largest excess of errors, leaving out private utterances."""
    said, wrong = _word_counts([a for a in bottom if not a.utterance.private])
    other_said, other_wrong = _word_counts([a for a in others if not a.utterance.private])
    base = sum(other_wrong.values()) / max(sum(other_said.values()), 1)
    words = []
    for word, count in said.items():
        expected = (other_wrong[word] + _PRIOR * base) / (other_said[word] + _PRIOR)
        excess = wrong[word] - count * expected
        if excess > 0:
            words.append(
                WordErrors(word, wrong[word], count, other_wrong[word], other_said[word], excess)
            )
    return tuple(sorted(words, key=lambda w: (-w.excess, w.word))[:_WORDS])


def _word_counts(aligned: Sequence[Aligned]) -> tuple[Counter[str], Counter[str]]:
    """Count reference words, and those of them that were substituted or deleted."""
    said: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for a in aligned:
        for op in a.ops:
            if op.ref is not None:
                word = a.utterance.ref[op.ref]
                said[word] += 1
                wrong[word] += op.kind != "C"
    return said, wrong


def _difficulty(aligned: Sequence[Aligned], bottom: set[str]) -> dict[str, float]:
    """Return for each speaker the log of the error rate that others have on the speaker's words.

    Rates come from speakers outside the bottom cohort, so that the gap itself makes no word
    difficult, and never from the speaker.
    """
    by_speaker: dict[str, list[Aligned]] = {}
    for a in aligned:
        by_speaker.setdefault(a.utterance.speaker, []).append(a)
    all_said, all_wrong = _word_counts([a for a in aligned if a.utterance.speaker not in bottom])
    total_said, total_wrong = sum(all_said.values()), sum(all_wrong.values())
    hard = {}
    for speaker, rows in by_speaker.items():
        own_said, own_wrong = _word_counts(rows)
        said, wrong = (own_said, own_wrong) if speaker not in bottom else (Counter(), Counter())
        base = (total_wrong - sum(wrong.values()) + 0.5) / (total_said - sum(said.values()) + 1)
        expected = sum(
            count
            * (all_wrong[word] - wrong[word] + _PRIOR * base)
            / (all_said[word] - said[word] + _PRIOR)
            for word, count in own_said.items()
        )
        words = sum(own_said.values())
        hard[speaker] = float(np.log(expected / words)) if words else np.nan
    return hard

"""Errors by class, confused words, worst words and worst speakers."""

from __future__ import annotations

import pytest

from asrlib.scoring.confusions import (
    Confusion,
    WordErrors,
    class_errors,
    confusions,
    mean_of_speakers,
    word_classes,
    worst_speakers,
    worst_tenth,
    worst_words,
)
from asrlib.scoring.records import Utterance
from asrlib.scoring.wer import ErrorRate, align, sum_by_speaker


def utterance(name: str, ref: str, hyp: str, speaker: str = "s", private: bool = False):
    return Utterance(name, speaker, tuple(ref.split()), tuple(hyp.split()), private=private)


ALIGNED = align(
    [
        utterance("1", "ENTER B SIX", "ENTER P SIX"),
        utterance("2", "ERASE B FIVE", "ERASE P FIVE NINE"),
        utterance("3", "B C", "B"),
        utterance("4", "S E C R E T", "S E Z", "p", private=True),
    ]
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I SAW A DOG", "wwww"),
        ("A B A C U S", "llllll"),
        ("OH YES", "ww"),
        ("NINE OH OH", "ddd"),
        ("GO A", "ww"),
        ("", ""),
    ],
)
def test_letters_and_numbers_are_known_by_their_neighbours(text, expected):
    assert "".join(name[0] for name in word_classes(text.split())) == expected


def test_classes_add_up_to_all_errors():
    kinds = class_errors(ALIGNED)
    assert ErrorRate.sum(kinds.values()) == ErrorRate.sum(a.words for a in ALIGNED)
    assert kinds["words"] == ErrorRate(0, 0, 0, 2)
    assert kinds["digits"] == ErrorRate(insertions=1, words=2)
    assert kinds["letters"].words == 10


def test_private_words_are_never_named():
    found = confusions(ALIGNED)
    assert found[0] == Confusion("letters", "B", "P", 2)
    assert Confusion("letters", "C", "-", 1) in found
    assert Confusion("digits", "-", "NINE", 1) in found
    assert not {c.ref for c in found} & {"R", "T"}
    assert worst_words(ALIGNED, occurrences=1) == [WordErrors("B", 3, 2), WordErrors("C", 1, 1)]
    assert worst_words(ALIGNED) == [WordErrors("B", 3, 2)]


def test_the_worst_tenth_pools_the_words_of_the_worst_speakers():
    by_speaker = {f"s{i:02d}": ErrorRate(0, 0, i, 20) for i in range(11)}
    assert worst_speakers(by_speaker) == ["s10", "s09"]
    assert worst_tenth(by_speaker) == ErrorRate(0, 0, 19, 40)
    assert mean_of_speakers(by_speaker) == pytest.approx(25)
    assert worst_speakers(sum_by_speaker(ALIGNED), 1.0) == ["p", "s"]
    assert worst_speakers({"silent": ErrorRate(1, 0, 0, 0)}) == []

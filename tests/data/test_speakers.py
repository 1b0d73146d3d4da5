"""The speaker table, and who is held out."""

from __future__ import annotations

import csv
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrlib.data.raw import RawUtterance
from asrlib.data.speakers import (
    SpeakerRows,
    check_shared_speakers,
    hold_out_speakers,
    write_speakers,
)
from asrlib.errors import DataError


def utterance(id_: str, speaker: str, gender: str | None = None, **more) -> RawUtterance:
    return RawUtterance(id=id_, audio="a.wav", text="A", speaker=speaker, gender=gender, **more)


genders_st = st.lists(st.sampled_from(["f", "m", None]), min_size=4, max_size=40)


def corpus(genders: list[str | None]) -> list[RawUtterance]:
    return [
        utterance(f"s{i}-{n}", f"s{i}", gender) for i, gender in enumerate(genders) for n in "ab"
    ]


def speakers(utterances: list[RawUtterance]) -> set[str]:
    return {u.speaker for u in utterances}


@given(genders=genders_st, count=st.integers(1, 12))
def test_hold_out_splits_speakers_and_loses_nothing(genders, count):
    utterances = corpus(genders)
    rest, held = hold_out_speakers(utterances, count)
    assert not speakers(rest) & speakers(held)
    assert sorted(u.id for u in rest + held) == sorted(u.id for u in utterances)


@given(genders=genders_st, count=st.integers(1, 12))
def test_every_stratum_gives_and_keeps(genders, count):
    utterances = corpus(genders)
    rest, held = hold_out_speakers(utterances, count)
    for gender in {g for g in genders if genders.count(g) > 1}:
        assert gender in {u.gender for u in held}
        assert gender in {u.gender for u in rest}
    strata = [g for g in set(genders) if genders.count(g) > 1]
    most = sum(genders.count(g) - 1 for g in strata)
    assert len(speakers(held)) == min(max(count, len(strata)), most)


@given(genders=genders_st, count=st.integers(1, 12), seed=st.integers(0, 9))
def test_hold_out_does_not_depend_on_order(genders, count, seed):
    utterances = corpus(genders)
    shuffled = random.Random(seed).sample(utterances, len(utterances))
    assert speakers(hold_out_speakers(utterances, count)[1]) == speakers(
        hold_out_speakers(shuffled, count)[1]
    )


def test_shares_follow_the_strata():
    _, held = hold_out_speakers(corpus(["f"] * 30 + ["m"] * 10), 8)
    genders = {u.speaker: u.gender for u in held}
    assert sorted(genders.values()) == ["f"] * 6 + ["m"] * 2


def test_table_holds_all_metadata(tmp_path):
    sets = {
        "train": [
            utterance("1", "a", "f", age=7.0, speaker_meta={"accent": "us", "zip": "02134"}),
            utterance("2", "a", "f", age=7.0, speaker_meta={"accent": "us", "zip": "02134"}),
        ],
        "test": [utterance("3", "b", speaker_meta={"rate": 1.25, "accent": "a\tb\n"})],
    }
    write_speakers(tmp_path / "speakers.tsv", speaker_rows(sets))
    with open(tmp_path / "speakers.tsv", newline="") as f:
        rows = list(csv.reader(f, delimiter="\t"))
    assert rows == [
        ["speaker", "set", "gender", "age", "accent", "rate", "zip"],
        ["a", "train", "f", "7", "us", "", "02134"],
        ["b", "test", "", "", "a b", "1.25", ""],
    ]


def test_contradictions_are_errors():
    rows = [utterance("1", "a", "f"), utterance("2", "a", "m")]
    with pytest.raises(DataError, match=r"speaker a: utterance 2 .* gender"):
        speaker_rows({"train": rows})


def speaker_rows(sets):
    table = SpeakerRows()
    for name, utterances in sets.items():
        for one in utterances:
            table.add(name, one)
    return table.rows()


def sets_of(**speakers: str) -> dict[str, list[RawUtterance]]:
    """Sets of one utterance for each letter, which is its speaker."""
    return {
        name: [utterance(f"{name}-{s}", s) for s in letters] for name, letters in speakers.items()
    }


def test_a_speaker_in_two_sets_has_two_rows():
    rows = speaker_rows(sets_of(train="a", test="a"))
    assert [row["set"] for row in rows] == ["train", "test"]


def test_training_speakers_in_another_set_are_refused():
    sets = sets_of(train="abcdefgh", dev="ai", test_one="xabcdefgy", test_two="z")
    with pytest.raises(DataError) as caught:
        check_shared_speakers(sets, permit=False)
    assert "a in train, dev, test_one; b in train, test_one; c in" in caught.value.what
    assert "; ... (7 in all)" in caught.value.what
    assert "f in" not in caught.value.what
    assert "--set manifests.permit_shared_speakers=true" in caught.value.fix


def test_permitted_training_speakers_are_a_warning(caplog):
    check_shared_speakers(sets_of(train="ab", test="bc"), permit=True)
    assert "b in train, test;" in caplog.text


def test_a_speaker_of_dev_and_test_is_a_warning(caplog):
    check_shared_speakers(sets_of(train="a", dev="b", test="bc"), permit=False)
    assert "b in dev, test;" in caplog.text


@given(genders=genders_st, count=st.integers(1, 12))
def test_held_out_speakers_are_not_shared(genders, count):
    train, dev = hold_out_speakers(corpus(genders), count)
    check_shared_speakers({"train": train, "dev": dev}, permit=False)


def test_the_choice_is_fixed():
    """Systems are tuned on the held-out speakers: another choice makes their figures differ."""
    _, held = hold_out_speakers(corpus(["f"] * 5 + ["m"] * 5 + [None]), 3)
    assert sorted(speakers(held)) == ["s3", "s4", "s7"]

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrlib.scoring.records import Utterance
from asrlib.scoring.wer import ErrorRate, align, sum_by_speaker

words = st.lists(st.sampled_from(["A", "B", "AB", "C"]), max_size=7).map(tuple)
pairs = st.lists(st.tuples(words, words, st.sampled_from("xyz")), max_size=6)
counts = st.builds(ErrorRate, *[st.integers(0, 50)] * 4)


def utterances(rows):
    return [Utterance(f"u{i}", speaker, ref, hyp) for i, (ref, hyp, speaker) in enumerate(rows)]


def test_line_is_kaldis_to_the_letter():
    rate = ErrorRate(insertions=138, deletions=192, substitutions=1088, words=5643)
    assert rate.line() == "%WER 25.13 [ 1418 / 5643, 138 ins, 192 del, 1088 sub ]"


@given(words, words)
def test_no_error_exactly_when_equal(ref, hyp):
    (a,) = align(utterances([(ref, hyp, "x")]))
    assert (a.words.errors == 0) == (ref == hyp)
    assert (a.chars.errors == 0) == (ref == hyp)


@given(words, words)
def test_parts_account_for_every_word(ref, hyp):
    (a,) = align(utterances([(ref, hyp, "x")]))
    w = a.words
    assert w.words == len(ref) == w.correct + w.substitutions + w.deletions
    assert len(hyp) == w.correct + w.substitutions + w.insertions
    assert w.errors == w.insertions + w.deletions + w.substitutions
    assert [op.ref for op in a.ops if op.ref is not None] == list(range(len(ref)))
    assert [op.hyp for op in a.ops if op.hyp is not None] == list(range(len(hyp)))
    for op in a.ops:
        if op.kind in "CS":
            assert (ref[op.ref] == hyp[op.hyp]) == (op.kind == "C")


@given(words, words)
def test_errors_are_the_edit_distance(ref, hyp):
    previous = list(range(len(hyp) + 1))
    for i, r in enumerate(ref, 1):
        row = [i]
        for j, h in enumerate(hyp, 1):
            row.append(min(row[-1] + 1, previous[j] + 1, previous[j - 1] + (r != h)))
        previous = row
    (a,) = align(utterances([(ref, hyp, "x")]))
    assert a.words.errors == previous[-1]


@given(pairs)
def test_an_utterance_counts_the_same_alone_and_in_company(rows):
    together = align(utterances(rows))
    alone = [align([u])[0] for u in utterances(rows)]
    assert together == alone


@given(pairs)
def test_speakers_sum_to_the_total(rows):
    aligned = align(utterances(rows))
    assert ErrorRate.sum(sum_by_speaker(aligned).values()) == ErrorRate.sum(
        a.words for a in aligned
    )


@given(counts, counts, counts)
def test_counts_form_a_monoid(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + ErrorRate() == a


def test_rate_is_divided_last():
    # The mean of the two rates would be 62.5 %.
    total = ErrorRate(substitutions=1, words=1) + ErrorRate(deletions=1, words=4)
    assert total.rate == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("ref", "hyp", "insertions", "deletions", "rate"),
    [("", "", 0, 0, 0.0), ("", "A B", 2, 0, math.inf), ("A B", "", 0, 2, 1.0)],
)
def test_empty_texts_are_legal(ref, hyp, insertions, deletions, rate):
    (a,) = align([Utterance("u", "s", tuple(ref.split()), tuple(hyp.split()))])
    assert (a.words.insertions, a.words.deletions) == (insertions, deletions)
    assert a.words.rate == rate
    assert a.words.to_json()["percent"] == (None if math.isinf(rate) else 100 * rate)


def test_insertions_on_empty_references_count():
    aligned = align(utterances([((), ("A",), "x"), (("A", "B"), ("A", "B"), "x")]))
    assert ErrorRate.sum(a.words for a in aligned).line().startswith("%WER 50.00 [ 1 / 2, 1 ins")


def test_nothing_to_align():
    assert align([]) == []
    assert ErrorRate.sum([]) == ErrorRate()

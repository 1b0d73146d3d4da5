"""Favoured phrases: what a whole hypothesis gains is the boost of the phrases in it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_fakes import small_tokenizer

from asrlib.errors import DataError
from asrlib.lm.hotwords import HotwordScorer, read_hotwords, read_phrases


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return small_tokenizer(tmp_path_factory.mktemp("tokens"))


VOCAB = 6  # blank and five tokens
TOKENS = st.integers(1, VOCAB - 1)
PHRASES = st.dictionaries(
    st.lists(TOKENS, min_size=1, max_size=4).map(tuple),
    st.sampled_from([0.5, 1.0, 2.0]),
    min_size=1,
    max_size=5,
)


def contained(phrases, tokens):
    """The sum over all places where a phrase stands."""
    return sum(
        boost * len(phrase)
        for phrase, boost in phrases.items()
        for i in range(len(tokens))
        if tuple(tokens[i : i + len(phrase)]) == phrase
    )


@settings(max_examples=300, deadline=None)
@given(PHRASES, st.lists(st.integers(0, VOCAB - 1), max_size=12))
def test_a_hypothesis_gains_the_boosts_of_its_phrases(phrases, tokens):
    scorer = HotwordScorer(phrases, VOCAB, ignored=(0,))
    state, total = scorer.start(), 0.0
    for token in tokens:
        total += scorer.row(state)[token]
        state = scorer.advance(state, token)
    spoken = [token for token in tokens if token]
    assert total + scorer.end(state) == pytest.approx(contained(phrases, spoken))


def test_a_phrase_gains_from_its_first_piece_on():
    scorer = HotwordScorer({(1, 2, 3): 1.5}, VOCAB, ignored=(0,))
    np.testing.assert_allclose(scorer.row(scorer.start()), [0, 1.5, 0, 0, 0, 0])
    after = scorer.advance(scorer.start(), 1)
    np.testing.assert_allclose(scorer.row(after), [0, 0, 1.5, -1.5, -1.5, -1.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no phrase"),
        ("# only a comment\n\n", "has no phrase"),
        ("GO\n...\n", "line 2: '...' has no piece"),
        ("GO\nßΩ漢\n", "line 2: 'Ω' of 'ßΩ漢' has no piece"),
        ("GO\t-1\n", "line 1: the boost -1 is not above 0"),
        ("GO\tmuch\n", "line 1: the boost much is not above 0"),
    ],
)
def test_a_bad_file_names_its_line(tmp_path, tokenizer, text, message):
    path = tmp_path / "hot.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_hotwords(path, tokenizer, 1.0)


def test_a_missing_file_is_named(tmp_path, tokenizer):
    with pytest.raises(DataError, match=r"none\.txt"):
        read_hotwords(tmp_path / "none.txt", tokenizer, 1.0)


def test_a_phrase_may_have_its_own_boost(tokenizer):
    found = read_phrases(["go", "seven\t2.5"], "x", tokenizer, 1.0)
    assert found == {
        tuple(tokenizer.encode("GO")): 1.0,
        tuple(tokenizer.encode("SEVEN")): 2.5,
    }

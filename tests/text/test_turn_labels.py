"""Labels of a channel and back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrlib.text.tokenizer import SPECIALS
from asrlib.text.turn_labels import (
    COT,
    EOT,
    SOT,
    TurnSpan,
    channel_labels,
    split_turns,
    turn_label_ends,
)

STYLES = ["sot_eot", "cot"]
words = st.integers(len(SPECIALS), 40)
turns = st.lists(st.lists(words, min_size=1, max_size=5), max_size=5)


def test_first_sot_and_last_eot_are_dropped():
    assert channel_labels([[7, 8], [9], [5]], "sot_eot") == [7, 8, EOT, SOT, 9, EOT, SOT, 5]
    assert channel_labels([[7, 8], [9]], "cot") == [7, 8, COT, 9]


@pytest.mark.parametrize("style", STYLES)
@given(turns)
def test_split_is_the_inverse(style, turn_tokens):
    labels = channel_labels(turn_tokens, style)
    spans = split_turns(labels, style)
    assert [[labels[i] for i in span.tokens] for span in spans] == turn_tokens
    assert [span.sot is None for span in spans[:1]] == [True] * len(spans[:1])
    assert all(labels[span.sot] in (SOT, COT) for span in spans[1:])
    assert all(labels[span.eot] in (EOT, COT) for span in spans[:-1])


@pytest.mark.parametrize("style", STYLES)
@given(st.lists(st.integers(0, 12).filter(bool), max_size=20))
def test_any_labels_give_ordered_turns_of_words(style, labels):
    spans = split_turns(labels, style)
    indices = [i for span in spans for i in span.tokens]
    assert indices == [i for i, label in enumerate(labels) if label not in (SOT, EOT, COT)]
    for span in spans:
        assert span.sot is None or span.sot < span.tokens[0]
        assert span.eot is None or span.eot > span.tokens[-1]


def test_symbols_out_of_order():
    assert split_turns([7, SOT, 8], "sot_eot") == [TurnSpan((0,)), TurnSpan((2,), sot=1)]
    assert split_turns([EOT, SOT, EOT, 8, EOT, 9], "sot_eot") == [
        TurnSpan((3,), eot=4),
        TurnSpan((5,)),
    ]
    assert split_turns([7, COT, 8], "sot_eot") == [TurnSpan((0, 2))]


def test_ends_stand_at_eot_only():
    ends = turn_label_ends([[7, 8], [9]], [1.5, 3.0], "sot_eot")
    assert ends == [math.inf, math.inf, 1.5, math.inf, math.inf]
    assert turn_label_ends([[7, 8], [9]], [1.5, 3.0], "cot") == [math.inf] * 4


@given(turns, st.sampled_from(STYLES))
def test_ends_are_as_many_as_labels(turn_tokens, style):
    ends = turn_label_ends(turn_tokens, [1.0] * len(turn_tokens), style)
    labels = channel_labels(turn_tokens, style)
    assert [label == EOT for label in labels] == [math.isfinite(end) for end in ends]


@pytest.mark.parametrize("tokens", [[], [7, EOT]])
def test_a_turn_without_words_or_with_symbols_is_refused(tokens):
    with pytest.raises(ValueError, match="one or more word tokens"):
        channel_labels([[7], tokens], "sot_eot")

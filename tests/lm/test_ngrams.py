"""N-gram models: smoothing, the ARPA file, and errors of a bad file."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.errors import ConfigError, DataError
from asrlib.lm.arpa import read_arpa
from asrlib.lm.kneser_ney import BEGIN, END, train_ngrams, write_arpa

SYMBOLS = "abcde"
TEXTS = st.lists(st.text(SYMBOLS[:4], max_size=6).map(tuple), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(1, 4), st.lists(st.sampled_from(SYMBOLS), max_size=4))
def test_probabilities_after_every_history_sum_to_one(text, order, history):
    table = train_ngrams(text, order, SYMBOLS)
    for start in ((), (BEGIN,)):
        total = sum(math.exp(table.log_prob((*start, *history), s)) for s in (*SYMBOLS, END))
        assert total == pytest.approx(1.0, abs=1e-9)


def test_bigrams_by_hand():
    """Text `a b`, `a a`: the discounts fall back to .5, 1, 1.5, and 4 symbols share the rest."""
    table = train_ngrams([("a", "b"), ("a", "a")], 2, "abc")
    # Different symbols before a: <s>, a; before b: a; before </s>: b, a. In all 5; each count of 1
    # gives .5, each of 2 gives 1.
    gamma = (1 + 0.5 + 1) / 5
    a, b = (2 - 1) / 5 + gamma / 4, (1 - 0.5) / 5 + gamma / 4
    assert math.exp(table.log_prob((), "a")) == pytest.approx(a)
    assert math.exp(table.log_prob((), "b")) == pytest.approx(b)
    assert math.exp(table.log_prob((), "c")) == pytest.approx(gamma / 4)
    # After a come b, a and </s>, once each.
    after_a = 0.5 * 3 / 3
    assert math.exp(table.log_prob(("a",), "b")) == pytest.approx(0.5 / 3 + after_a * b)
    assert math.exp(table.log_prob(("a",), "c")) == pytest.approx(after_a * gamma / 4)
    assert math.exp(table.log_prob((BEGIN,), "a")) == pytest.approx(1 / 2 + 1 / 2 * a)


def test_a_longer_history_predicts_a_regular_text_better():
    rng = random.Random(0)
    text = [tuple("abcd" * rng.randint(1, 4)) for _ in range(50)]
    costs = [
        -sum(train_ngrams(text, n, SYMBOLS).log_prob(tuple("abc"[:3]), s) for s in "d")
        for n in (1, 2)
    ]
    assert costs[1] < 0.5 * costs[0]


@settings(max_examples=20, deadline=None)
@given(TEXTS, st.integers(1, 4))
def test_the_file_holds_the_model(tmp_path_factory, text, order):
    path = tmp_path_factory.mktemp("arpa") / "lm.arpa"
    table = train_ngrams(text, order, SYMBOLS)
    write_arpa(table, path)
    read = read_arpa(path, SYMBOLS)
    for history in ((), ("a",), (BEGIN, "b"), ("a", "b", "c"), ("e", "d")):
        for symbol in (*SYMBOLS, END):
            assert read.log_prob(history, symbol) == pytest.approx(
                table.log_prob(history, symbol), abs=1e-6
            )


def test_the_order_and_the_vocabulary_are_checked():
    with pytest.raises(ConfigError, match="order 5"):
        train_ngrams([("a",)], 5, SYMBOLS)
    with pytest.raises(DataError, match="sentence 2: z is not"):
        train_ngrams([("a",), ("z",)], 2, SYMBOLS)
    with pytest.raises(DataError, match="no sentence"):
        train_ngrams([], 2, SYMBOLS)


GOOD = "\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<s>\n-0.5\ta\n-0.5\t</s>\n\n\\end\\\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\ta\n", "\tb\n", r"line 6: b is no piece"),
        ("-0.5\ta", "x\ta", r"line 6: is no 1-gram"),
        ("-0.5\ta", "nan\ta", r"line 6: is no 1-gram"),
        ("\t</s>\n", "\ta\n", r"line 7: a comes twice"),
        ("1=3", "1=4", r"incomplete: announces \{1: 4\}"),
        ("\\end\\\n", "", r"incomplete"),
        ("\\1-grams:", "\\2-grams:", r"line 4: .* where order 1 begins"),
    ],
)
def test_a_bad_file_names_its_line(tmp_path, old, new, message):
    path = tmp_path / "lm.arpa"
    path.write_text(GOOD)
    read_arpa(path, "a")
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_arpa(path, "a")


def test_pieces_that_the_model_lacks_are_told(tmp_path, caplog):
    path = tmp_path / "lm.arpa"
    path.write_text(GOOD)
    read_arpa(path, "abc")
    assert "lacks 2 of 3 pieces, for example b" in caplog.text
    with pytest.raises(DataError, match=r"lm.arpa: lacks 11 of 12 pieces.* another vocabulary"):
        read_arpa(path, "abcdefghijkl")


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(DataError, match="there is no such"):
        read_arpa(tmp_path / "none.arpa", "a")
    (tmp_path / "lm.arpa").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="UTF-8"):
        read_arpa(tmp_path / "lm.arpa", "a")

"""One spelling for every transcript."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.text import normalise


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("  turn it  ON, please! ", "TURN IT ON PLEASE"),
        ("don\u2019t", "DON'T"),
        ("rock 'n' roll", "ROCK 'N' ROLL"),
        ("twenty-one", "TWENTY ONE"),
        ("caf\u0065\u0301", "CAFÉ"),
        ("\uff21\uff42\uff11", "AB1"),
        ("straße", "STRASSE"),
        ("a ' b", "A B"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "\u0928\u092e\u0938\u094d\u0924\u0947"),
        ("... !", ""),
    ],
)
def test_examples(given_, expected):
    assert normalise(given_) == expected


@settings(deadline=None)
@given(st.text())
def test_laws(text):
    out = normalise(text)
    assert normalise(out) == out
    assert out == out.strip()
    assert "  " not in out
    assert all(c in " '" or unicodedata.category(c)[0] in "LMN" for c in out)

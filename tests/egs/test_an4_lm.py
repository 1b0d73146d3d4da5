"""Text for AN4's letter language model."""

from __future__ import annotations

import importlib.util
import random
import re
import sys

import pytest

from asrlib.recipe import PROJECT_DIR


@pytest.fixture(scope="module")
def lm_text():
    path = PROJECT_DIR / "egs/an4/local/lm_text.py"
    spec = importlib.util.spec_from_file_location("lm_text", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["lm_text"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_utterances_have_the_forms_of_the_corpus(lm_text):
    found = list(lm_text.sentences(3000, seed=1))
    words = {
        *(*lm_text.DIGITS, "OH", *lm_text.TEENS, *lm_text.TENS, "HUNDRED", "THOUSAND"),
        *(*lm_text.MONTHS, *lm_text.ORDINALS, "THIRTIETH", *lm_text.COMMANDS, *lm_text.LEADS),
        *lm_text.LETTERS,
    }
    assert all(text and set(text.split()) <= words for text in found)
    spelled = [text for text in found if re.fullmatch(r"[A-Z]( [A-Z])+", text)]
    assert 0.2 < len(spelled) / len(found) < 0.6
    assert found == list(lm_text.sentences(3000, seed=1))
    assert found != list(lm_text.sentences(3000, seed=2))


def test_names_come_by_their_frequency(lm_text):
    last = lm_text.census("last")
    rng = random.Random(1)
    drawn = [last.one(rng) for _ in range(20_000)]
    assert drawn.count("SMITH") > drawn.count("GARCIA") > 10
    assert lm_text.spelled("O'Fallon 2") == "O F A L L O N"

"""No damaged input ends in a traceback or costs a good utterance; see tests/damage.sh."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from damage import Judge, all_kinds
from damage_families import families

KINDS = all_kinds()
EVERY = 13  # of the short form; a prime, so that each file meets other kinds


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> Judge:
    return Judge(tmp_path_factory.mktemp("damage"))


def hold(judge: Judge, kinds: list) -> None:
    verdicts = [judge.feed(*kind) for kind in kinds]
    assert not [verdict for verdict in verdicts if not verdict.holds]
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    assert outcomes["refused"] > 0
    assert all(verdict.told for verdict in verdicts if verdict.outcome != "accepted")


def test_there_are_many_kinds():
    names = [(family.name, name) for family, name, _ in KINDS]
    assert len(set(names)) == len(names) >= 200
    assert len({family for family, _ in names}) == len(families())


def test_some_kinds(judge):
    hold(judge, KINDS[::EVERY])


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_the_whole_files_are_accepted(judge, family):
    """Else a refusal would show nothing."""
    if family.name == "audio":
        pytest.skip("its file is one that damage makes")

    def nothing(path: Path) -> None:
        assert path.exists()

    assert judge.feed(family, "none", nothing).outcome == "accepted"


def test_a_broken_law_is_seen(judge):
    """The judge can find a law broken: a lost utterance, a stranger, a crash."""
    scored = next(family for family in families() if family.name == "hypotheses")
    verdict = judge.feed(
        scored, "a line less", lambda p: p.write_text(p.read_text().split("\n")[0])
    )
    assert verdict.outcome == "good lost"
    stranger = judge.recipe.parent / "climbed"
    assert judge.feed(scored, "stranger", lambda p: stranger.write_text("")).outcome == "escaped"

    def unreadable(recipe: Path) -> set[str]:
        raise ValueError("half a line")

    crashing = replace(scored, survivors=unreadable)
    assert judge.feed(crashing, "none", lambda path: None).outcome == "crash"

"""Memberships are those of the file, and forgotten by a draw that nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet, MonoCut, SupervisionSegment

from asrlib.cohort_file import COHORTS_FILE
from asrlib.data.membership import Membership, membership_values, memberships
from asrlib.errors import DataError

COHORTS = {"a": "top", "b": "bottom", "c": "middle"}


def cut(name: str, speaker: str | None) -> MonoCut:
    supervision = SupervisionSegment(name, name, 0.0, 1.0, speaker=speaker)
    return MonoCut(name, 0.0, 1.0, 0, [supervision])


def known(unknown: float = 0.0) -> Membership:
    return Membership(COHORTS, Path("cohorts.jsonl"), unknown)


def test_only_top_and_bottom_are_told():
    cuts = [cut("1", "a"), cut("2", "b"), cut("3", "c"), cut("4", "new"), cut("5", None)]
    expected = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert known().of(cuts).tolist() == expected
    assert known().of([]).shape == (0, 2)
    assert memberships([None]).dtype == torch.float32
    assert membership_values("bottom") == [0.0, 1.0]


def test_the_file_may_say_more_of_a_speaker(tmp_path):
    rows = [{"speaker": s, "cohort": c, "split": "discovery"} for s, c in COHORTS.items()]
    (tmp_path / COHORTS_FILE).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    membership = Membership.read(tmp_path, 0.1)
    assert membership == Membership(COHORTS, tmp_path / COHORTS_FILE, 0.1)


@given(
    unknown=st.floats(0, 1),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
    order=st.permutations(range(30)),
)
def test_the_draw_depends_on_seed_epoch_and_id_only(unknown, seed, epoch, order):
    cuts = [cut(f"u{i}", "ab"[i % 2]) for i in range(30)]
    whole_BC = known(unknown).drawn(cuts, seed, epoch)
    mixed_BC = known(unknown).drawn([cuts[i] for i in order], seed, epoch)
    assert torch.equal(mixed_BC, whole_BC[list(order)])
    forgotten_B = whole_BC.sum(dim=1) == 0
    assert torch.equal(whole_BC[~forgotten_B], known().of(cuts)[~forgotten_B])


def test_the_share_of_unknown_is_the_configured_one_and_changes_with_the_epoch():
    cuts = [cut(f"u{i}", "a") for i in range(4000)]
    drawn = [known(0.1).drawn(cuts, 1, epoch)[:, 0] for epoch in (0, 1)]
    for known_B in drawn:
        assert 1 - known_B.mean().item() == pytest.approx(0.1, abs=4 * (0.09 / 4000) ** 0.5)
    both = ((1 - drawn[0]) * (1 - drawn[1])).mean().item()
    assert both == pytest.approx(0.01, abs=4 * (0.01 / 4000) ** 0.5)
    assert known(0.0).drawn(cuts, 1, 0)[:, 0].all()
    assert not known(1.0).drawn(cuts, 1, 0).any()


def test_cohorts_of_other_speakers_are_refused():
    of_test = CutSet.from_cuts([cut("1", "x"), cut("2", "y")])
    with pytest.raises(DataError, match="no speaker of the set test"):
        known().check_known(of_test, "test")
    known().check_known([cut("1", "x"), cut("2", "c")], "test")


@pytest.mark.parametrize(("speakers", "missing"), [("acx", "bottom"), ("bcx", "top")])
def test_a_cohort_without_training_data_is_refused(speakers, missing):
    cuts = [cut(s, s) for s in speakers]
    with pytest.raises(DataError, match=f"training set is in the cohort {missing}"):
        known().check_training(cuts)
    known().check_training([cut(s, s) for s in "ab"])

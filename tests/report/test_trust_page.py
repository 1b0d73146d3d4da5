"""results/trust: the figures of faults and damage come back, and stand on the page of the plan."""

from __future__ import annotations

from asrlib.experiments.store import FAULTS_FILE, read_plan, write_about
from asrlib.experiments.trust import Damage, FamilyDamage, FaultCheck, Faults, StageFaults
from asrlib.report.results_page import write_pages

KILLED = {"kills": 12, "runs": 5, "differences": 1, "failures": 1}
FAULTS = Faults(
    command="tests/faults.sh --kills 15",
    commit="0123456789abcdef",
    seed=3,
    stages=(
        StageFaults(name="train", number=4, **KILLED),
        StageFaults(name="publish", number=None, **(KILLED | {"kills": 3, "failures": 0})),
    ),
    checks=(FaultCheck(name="full disk", told="No space left", holds=False),),
)
DAMAGE = Damage(
    command="tests/damage.sh",
    commit="0123456789abcdef",
    families=(
        FamilyDamage(
            name="audio",
            kinds=31,
            refused=0,
            quarantined=20,
            accepted=7,
            crashes=1,
            unnamed=1,
            lost=1,
            escaped=1,
        ),
    ),
)


def test_sums():
    assert (FAULTS.kills, FAULTS.differences, DAMAGE.kinds) == (15, 3, 31)


def test_figures_come_back_and_stand_on_the_page(tmp_path):
    for found in (FAULTS, DAMAGE):
        write_about(tmp_path, "trust", found)
    plan = read_plan(tmp_path, "trust")
    assert (plan.faults, plan.damage) == (FAULTS, DAMAGE)
    write_pages(tmp_path)
    page = (tmp_path / "results" / "trust" / "README.md").read_text()
    assert "| 4 train | 12 | 5 | 1 | 1 |" in page
    assert "| publish | 3 | 5 | 1 | 0 |" in page
    assert "| full disk | NO | No space left |" in page
    assert "| audio | 31 | 0 | 20 | 7 | 1 | 1 | 1 | 1 |" in page
    assert FAULTS.command in page
    assert "15 kills, 31 kinds of damage" in (tmp_path / "RESULTS.md").read_text()


def test_a_broken_file_is_skipped_with_its_reason(tmp_path):
    path = tmp_path / "results" / "trust" / FAULTS_FILE
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    plan = read_plan(tmp_path, "trust")
    assert plan.faults is None
    assert plan.skipped[0].path == f"results/trust/{FAULTS_FILE}"

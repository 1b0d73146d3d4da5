"""Adaptations are rows of a plan: trained from its start, decoded, published."""

from __future__ import annotations

import json

import pytest
from command_fakes import call
from plan_fakes import here, prepare, write_plan

from asrlib.experiments.declared import undeclared
from asrlib.experiments.plan_file import load_plan
from asrlib.experiments.plan_state import PlanState
from asrlib.experiments.run_record import read_record
from asrlib.recipe import Recipe

ADAPT = "mitigation.adaptation"
PLAN = {
    "title": "Adaptation",
    "start": {"model": "tiny"},
    "variants": [
        {"name": "general", "model": "tiny", "set": {f"{ADAPT}.speech": "general"}},
        {"name": "finetune", "model": "tiny", "set": {f"{ADAPT}.speech": "cohort"}},
        {"name": "ewc", "model": "tiny", "set": {f"{ADAPT}.method": "ewc"}},
    ],
    "set": {
        f"{ADAPT}.method": "finetune",
        "mitigation.cohorts.directory": "exp/cohorts/tree",
        "mitigation.cohorts.sets": ["test"],
        "mitigation.cohorts.choose": 0.0,
        "train.max_steps": 2,
    },
    "factors": {"train.seed": [1]},
    "test_sets": ["test"],
}


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setattr("asrlib.experiments.run_plan.run_each", here)
    recipe = prepare(tmp_path / "egs" / "small")
    line = {"speaker": "test-s", "cohort": "bottom", "method": "tree", "split": "discovery"}
    path = recipe / "exp" / "cohorts" / "tree" / "cohorts.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(line) + "\n")
    write_plan(recipe, "adapt", PLAN)
    return recipe


def test_a_plan_adapts_its_start_and_knows_what_is_done(recipe):
    done = call("plan", "adapt", "--recipe-dir", recipe)
    assert done.code == 0, done
    again = call("plan", "adapt", "--recipe-dir", recipe, "--dry-run")
    assert "nothing to do" in again.out
    runs = PlanState(Recipe(recipe), load_plan(Recipe(recipe), "adapt")).plan.runs({})
    general, tuned, ewc = (read_record(recipe / "exp" / run.name) for run in runs)
    assert general.start == tuned.start == ewc.start is not None
    assert set(tuned.data) >= {"test", "exp/cohorts/tree/cohorts.jsonl", "train"}
    assert not undeclared(tuned, ewc, {ADAPT, "train.seed"})
    assert [d.key for d in undeclared(tuned, ewc, {"train.seed"})] == [f"{ADAPT}.method"]

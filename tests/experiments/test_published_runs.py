"""What the recipes have published stays what their plans ask for."""

import shutil
from pathlib import Path

import pytest

from asrlib.config import as_override
from asrlib.experiments.factors import told_factors
from asrlib.experiments.plan_file import load_plan
from asrlib.experiments.plan_state import PlanState
from asrlib.experiments.store import read_plan
from asrlib.recipe import PROJECT_DIR, Recipe
from asrlib.training.build import load_configs

PUBLISHED = sorted(
    {
        path.parent.relative_to(PROJECT_DIR)
        for path in PROJECT_DIR.glob("egs/*/results/*/*-seed*.json")
    }
)


def test_there_are_published_plans():
    assert Path("egs/mini/results/main") in PUBLISHED


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda f: f"{f.parts[1]}-{f.name}")
def test_published_runs_are_those_of_their_plan(folder, tmp_path):
    """In a clone without data; a new key of conf/ with its default does not change a run."""
    source, recipe = PROJECT_DIR / "egs" / folder.parts[1], tmp_path / "egs" / folder.parts[1]
    for part in ("conf", "results"):
        shutil.copytree(source / part, recipe / part)
    plan = load_plan(Recipe(recipe), folder.name)
    state = PlanState(Recipe(recipe), plan)
    # Those of ./run.sh, which belong to no plan, are published beside those of the plan `main`.
    runs = read_plan(recipe, folder.name).runs
    held = {run.record.name for run in runs if run.record.plan == folder.name}

    def asked() -> set[str]:
        return {r.name for r in plan.runs(state.chosen()) if state.published(r) is not None}

    assert asked() == held
    # A run that was trained again, with other tokens for example, is published beside the first:
    # each of the two is what the plan asks for.
    for run in runs:
        again = (
            recipe / "results" / folder.name / f"{run.record.name}-{run.record.identity[:8]}.json"
        )
        if again.exists():
            again.replace(again.with_name(f"{run.record.name}.json"))
    assert asked() == held


OF_RECIPES = sorted(
    path.relative_to(PROJECT_DIR) for path in PROJECT_DIR.glob("egs/*/conf/plans/*")
)


@pytest.mark.parametrize("path", OF_RECIPES, ids=lambda path: f"{path.parts[1]}-{path.stem}")
def test_the_trainings_of_a_plan_accept_its_factors(path):
    """A rule of a list, which leaves out what has a default, once stopped the first training."""
    plan = load_plan(Recipe(PROJECT_DIR / path.parents[2]), path.stem)
    for run in plan.runs({}):
        recipe = Recipe(PROJECT_DIR / path.parents[2], run.overrides)
        factors = [as_override(key, value) for key, value in run.factors.items()]
        assert (
            told_factors(factors, load_configs(recipe, run.model), recipe, run.model) == run.factors
        )

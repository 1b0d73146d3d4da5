"""Plans of speaker models: their jobs, and what the store keeps of their results."""

from pathlib import Path

import pytest
import yaml
from scoring_fakes import run_record
from verification_records import system

from asrlib.experiments.plan_file import load_plan
from asrlib.experiments.publish import collect_run, publish, scored_names
from asrlib.experiments.run_plan import PlanRunner
from asrlib.experiments.run_record import read_record
from asrlib.experiments.store import read_plan
from asrlib.recipe import Recipe
from asrlib.verification.raised import Raised, RaisedGroup

VOICES = {
    "title": "Voices",
    "stages": "voices",
    "models": ["speaker/ecapa"],
    "factors": {"train.seed": [1]},
    "test_sets": ["test_a", "test_b"],
}


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    path = tmp_path / "egs" / "demo" / "conf" / "plans" / "voices.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(VOICES))
    return Recipe(tmp_path / "egs" / "demo")


def scored(recipe: Recipe, run: str | None) -> Path:
    record = run_record("voices-ecapa", model="speaker/ecapa", plan="voices")
    directory = recipe.exp / record.name
    record.to_file(directory / "run.json")
    own = record.identity if run is None else run
    for name in ("test_a", "test_b"):
        system("voices-ecapa", set=name, run=own).to_file(
            directory / f"verify_{name}" / "verification.json"
        )
    return directory


def raised(run: str) -> Raised:
    return Raised(
        name="voices-ecapa",
        run=run,
        step=9,
        utterances=4,
        speakers=6,
        lowest=0.5,
        highest=2.0,
        groups={"age": (RaisedGroup("<16", 3, 1.5, 0.1), RaisedGroup(">=16", 3, 0.5, 0.1))},
    )


def test_a_job_trains_embeds_all_sets_and_scores(recipe):
    runner = PlanRunner(recipe, load_plan(recipe, "voices"), 1, "local", {}, lambda _: None)
    (run,) = runner.plan.runs({})
    commands = [words[:5] for words in runner.commands.job(run).commands]
    assert commands[0][:3] == ("train", "--model", "speaker/ecapa")
    name = run.name
    assert commands[1:] == [
        ("embed", "--name", name, "--set-name", "dev"),
        ("embed", "--name", name, "--set-name", "test_a"),
        ("embed", "--name", name, "--set-name", "test_b"),
        ("score-verification", "--name", name, "--test-set", "test_a"),
        ("score-verification", "--name", name, "--test-set", "test_b"),
    ]


@pytest.mark.parametrize("model", ["speaker/ecapa/pairwise", "speaker/ecapa/group_dro"])
def test_a_reweighted_training_is_asked_whom_it_raised(recipe, model):
    (recipe.dir / "conf" / "plans" / "voices.yaml").write_text(
        yaml.safe_dump({**VOICES, "models": [model]})
    )
    runner = PlanRunner(recipe, load_plan(recipe, "voices"), 1, "local", {}, lambda _: None)
    (run,) = runner.plan.runs({})
    assert runner.commands.job(run).commands[-1][:3] == ("raised", "--name", run.name)


def test_published_results_come_back_without_small_groups(recipe):
    scored(recipe, None)
    assert scored_names(recipe.exp) == ["voices-ecapa"]
    done = publish(recipe)
    assert len(done.files) == 1
    assert not done.skipped
    (held,) = read_plan(recipe.dir, "voices").runs
    assert [v.set for v in held.voices] == ["test_a", "test_b"]
    assert {g.value for g in held.voices[0].groups["gender"].groups} == {"f", "m"}


def test_weights_are_published_later_and_kept(recipe):
    """They may be asked for when the scores are published already."""
    directory = scored(recipe, None)
    publish(recipe)
    found = raised(read_record(directory).identity)
    found.to_file(directory / "raised.json")
    publish(recipe)
    assert read_plan(recipe.dir, "voices").runs[0].raised == found
    (directory / "raised.json").unlink()
    publish(recipe)
    assert read_plan(recipe.dir, "voices").runs[0].raised == found


def test_results_of_another_training_are_not_published(recipe):
    scored(recipe, "0" * 64)
    raised("0" * 64).to_file(recipe.exp / "voices-ecapa" / "raised.json")
    run, skipped = collect_run(recipe, "voices-ecapa")
    assert run.raised is None
    assert skipped.pop().path == "exp/voices-ecapa/raised.json"
    assert not run.voices
    assert [s.path for s in skipped] == [f"exp/voices-ecapa/verify_test_{x}" for x in "ab"]

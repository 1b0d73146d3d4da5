"""What a plan expands to, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from command_fakes import call, explained
from plan_fakes import write_plan

from asrlib.errors import ConfigError
from asrlib.experiments.plan import Plan
from asrlib.experiments.plan_file import load_plan
from asrlib.recipe import PROJECT_DIR, Recipe

GOOD = {
    "title": "A plan",
    "models": ["lstm", "conv_rnnt/local_only"],
    "factors": {"model.loss.fast_emit": [0.0, 0.01], "train.seed": [1, 2]},
}
TUNE = {"key": "train.peak_lr", "values": [0.001, 0.002], "set": {"train.epochs": 1}}


def load(recipe: Path, content: dict, name: str = "mine", overrides: tuple = ()) -> Plan:
    write_plan(recipe, name, content)
    return load_plan(Recipe(recipe, overrides), name)


@pytest.fixture
def recipe(tmp_path) -> Path:
    (tmp_path / "conf").mkdir()
    return tmp_path


def test_rows_are_crossed_with_factors(recipe):
    runs = load(recipe, {**GOOD, "set": {"train.epochs": 2}}).runs({})
    assert [run.name for run in runs][:3] == [
        "mine-lstm-fast_emit0.0-seed1",
        "mine-lstm-fast_emit0.0-seed2",
        "mine-lstm-fast_emit0.01-seed1",
    ]
    assert len(runs) == 2 * 2 * 2
    assert runs[-1].name == "mine-conv_rnnt_local_only-fast_emit0.01-seed2"
    assert runs[-1].factors == {"model.loss.fast_emit": 0.01, "train.seed": 2}
    assert runs[-1].overrides == (
        "train.epochs=2",
        "model.loss.fast_emit=0.01",
        "train.seed=2",
    )


def test_a_row_may_be_run_without_the_reference(recipe):
    content = {**GOOD, "reference": "lstm", "only": ["conv_rnnt/local_only"]}
    assert {run.row for run in load(recipe, content).runs({})} == {"conv_rnnt/local_only"}


def test_settings_of_a_variant_count_as_factors(recipe):
    wide = {"name": "wide", "model": "lstm", "set": {"train.weight_decay": 0.1}}
    plan = load(recipe, {"title": "A", "models": ["lstm"], "variants": [wide]})
    assert [(run.name, run.factors) for run in plan.runs({})] == [
        ("mine-lstm", {}),
        ("mine-wide", {"train.weight_decay": 0.1}),
    ]


def test_trials_are_of_each_row_or_of_the_one_that_judges_it(recipe):
    tune = {**TUNE, "judged_by": {"amortized": "amortized/full"}}
    plan = load(recipe, {"title": "A", "models": ["lstm", "amortized"], "tune": tune})
    trials = plan.trials()
    assert {name: list(runs) for name, runs in trials.items()} == {
        "lstm": ["0.001", "0.002"],
        "amortized/full": ["0.001", "0.002"],
    }
    trial = trials["amortized/full"]["0.002"]
    assert (trial.model, trial.name) == ("amortized/full", "mine-tune-amortized_full-peak_lr0.002")
    assert trial.overrides == ("train.epochs=1", "train.peak_lr=0.002")
    (lstm, _) = plan.runs({"lstm": 0.002, "amortized": 0.001})
    assert lstm.factors == {"train.peak_lr": 0.002}


def test_a_recipe_overlays_the_projects_plan(recipe):
    write_plan(recipe, "main", {"factors": {"train.seed": [7]}})
    names = [run.name for run in load_plan(Recipe(recipe), "main").runs({})]
    assert names == ["main-lstm-seed7", "main-conv_rnnt-seed7"]


def test_the_command_line_changes_runs_but_not_what_varies(recipe):
    given = ("train.device=cuda", "decode.max_streams=4", "plans.searches=[modified_beam]")
    plan = load(recipe, GOOD, overrides=given)
    assert (plan.name, plan.published) == ("mine", True)
    assert plan.config.searches == ("modified_beam",)
    assert plan.runs({})[0].overrides[:2] == given[:2]
    other = load(recipe, GOOD, overrides=("train.epochs=2",))
    assert (other.name, other.published) == ("mine-epochs2", False)
    with pytest.raises(ConfigError, match=r"--set train\.seed=4: the plan varies train\.seed"):
        load(recipe, GOOD, overrides=("train.seed=4",))


def test_a_start_has_a_start(recipe):
    start = {"model": "sts", "set": {"train.epochs": 3}, "start": {"model": "sts/single"}}
    content = {"title": "A", "models": ["sts"], "stages": "mixtures", "start": start}
    (run,) = load(recipe, content).runs({})
    assert run.start is not None
    assert run.start.start is not None
    assert [run.start.name, run.start.start.name] == ["mine-start-sts", "mine-start-sts_single"]
    assert run.start.overrides == ("train.epochs=3",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fatcors": {}}, "unknown key fatcors\n  fix: did you mean factors?"),
        ({"tune": {**TUNE, "vals": [1]}}, "unknown key tune.vals"),
        ({"models": ["lstn"]}, "no model lstn\n  fix: did you mean lstm?"),
        ({"start": {"model": "lstn"}}, "no model lstn"),
        ({"models": []}, "no models and no variants"),
        ({"models": ["lstm", "lstm"]}, "two rows lstm"),
        (
            {"factors": {"trian.seed": [1]}},
            "trian.seed: no section trian\n  fix: did you mean train?",
        ),
        ({"factors": {"seed": [1]}}, "seed: no key of a section"),
        ({"factors": {"train.seed": []}}, "factor train.seed: no values"),
        ({"factors": {"train.seed": 1}}, "factors.train.seed"),
        ({"factors": {"train.seed": [1, 1]}}, "two runs called mine-lstm-seed1"),
        ({"set": {"augmnt.gain": 1}}, "did you mean augment?"),
        ({"tune": {**TUNE, "values": []}}, "tune: no values"),
        ({"tune": {**TUNE, "judged_by": {"lstn": "lstm"}}}, "judged_by: no row lstn"),
        ({"searches": ["beam"]}, "no search beam"),
        ({"searches": ["fast_beam"], "stages": "mixtures"}, "no search fast_beam"),
        ({"stages": "three"}, "key stages"),
        ({"test_sets": ["tset"]}, "no set tset"),
        ({"test_sets": ["mix_test"]}, "no set mix_test"),
        ({"reference": "lstn"}, "reference: no row lstn"),
        ({"stages": "voices", "controls": ["lstn"]}, "controls: no row lstn"),
        ({"controls": ["lstm"]}, "controls: only plans of stages: voices have them"),
        (
            {
                "variants": [{"name": "a", "model": "lstm", "init": "final.pt"}],
                "start": {"model": "lstm"},
            },
            "a row has init, but the plan has start",
        ),
    ],
)
def test_a_faulty_plan_is_refused_by_name(recipe, change, told):
    (recipe / "data" / "test").mkdir(parents=True)
    (recipe / "data" / "test" / "cuts.jsonl.gz").touch()
    with pytest.raises(ConfigError, match=r"mine\.yaml") as error:
        load(recipe, {**GOOD, **change})
    assert told in str(error.value)


def test_an_unknown_plan_names_those_there_are(recipe):
    done = call("plan", "encoder", "--recipe-dir", recipe, "--dry-run")
    assert explained(done, "encoder.yaml", "compute, encoders, eot", "main")


def test_two_plans_with_a_run_of_one_name_are_refused(recipe):
    row = {"name": "b-c", "model": "lstm"}
    write_plan(recipe, "a", {"title": "A", "variants": [row]})
    with pytest.raises(ConfigError, match=r"a-b\.yaml: plan a has a run a-b-c too"):
        load(recipe, {"title": "B", "variants": [{**row, "name": "c"}]}, "a-b")


@pytest.mark.parametrize("name", ["speed", "model.loss.fast_emt"])
def test_a_key_that_its_section_does_not_know_names_the_run(recipe, name):
    key = name if "." in name else f"train.{name}"
    write_plan(recipe, "mine", {**GOOD, "models": ["lstm"], "factors": {key: [1]}})
    done = call("plan", "mine", "--recipe-dir", recipe, "--dry-run")
    assert explained(done, "run mine-lstm", key.rpartition(".")[2])


def test_a_factor_that_no_training_reads_is_refused(recipe):
    write_plan(recipe, "mine", {**GOOD, "factors": {"decode.tail_padding": [0.0]}})
    done = call("plan", "mine", "--recipe-dir", recipe, "--dry-run")
    assert explained(done, "factor decode.tail_padding", "reads no such key")


@pytest.mark.parametrize(
    "recipe_dir", sorted((PROJECT_DIR / "egs").glob("*")), ids=lambda p: p.name
)
def test_the_projects_plans_are_good_in_every_recipe(recipe_dir, tmp_path):
    if (recipe_dir / "conf").exists():  # without the data that a working directory may hold
        shutil.copytree(recipe_dir / "conf", tmp_path / "conf")
    for path in (PROJECT_DIR / "conf" / "plans").glob("*.yaml"):
        plan = load_plan(Recipe(tmp_path), path.stem)
        assert plan.runs({})
        assert yaml.safe_load(path.read_text())["title"]

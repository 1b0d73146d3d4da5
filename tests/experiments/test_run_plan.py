"""Plans that run: what is missing only, each run published, failures named."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import patch

import pytest
from command_fakes import call, explained
from plan_fakes import TWO, here, prepare, write_plan

from asrlib.experiments.run_record import read_record
from asrlib.experiments.store import Imported, read_plan


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("egs") / "small")


@pytest.fixture
def recipe(prepared, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("asrlib.experiments.run_plan.run_each", here)
    return Path(shutil.copytree(prepared, tmp_path / "egs" / "small"))


def plan(recipe: Path, name: str, *options: str) -> str:
    done = call("plan", name, "--recipe-dir", recipe, *options)
    assert done.code == 0, done
    return done.out


def published(recipe: Path, name: str) -> list[str]:
    return [run.record.name for run in read_plan(recipe, name).runs]


def test_a_plan_is_run_once_and_published(recipe):
    write_plan(recipe, "two", TWO)
    assert plan(recipe, "two", "--dry-run").split() == [
        *("train,", "decode,", "score", "two-tiny-seed1"),
        *("train,", "decode,", "score", "two-twin-seed1"),
    ]
    assert not (recipe / "exp").exists()
    plan(recipe, "two")
    assert published(recipe, "two") == ["two-tiny-seed1", "two-twin-seed1"]
    assert "Two models" in (recipe / "RESULTS.md").read_text()
    assert "nothing to do" in plan(recipe, "two", "--dry-run")
    before = {p: p.stat().st_mtime_ns for p in (recipe / "exp").rglob("final.pt")}
    assert "nothing to do" in plan(recipe, "two")
    assert {p: p.stat().st_mtime_ns for p in (recipe / "exp").rglob("final.pt")} == before


def test_what_a_plan_chose_for_decoding_is_told_beside_its_results(recipe):
    decoding = {"tag": "own", "tune": {"decode.blank_penalty": [0.0, 1.0]}}
    write_plan(recipe, "weighed", {**TWO, "decoding": decoding})
    plan(recipe, "weighed")
    about = read_plan(recipe, "weighed").about
    assert about is not None
    assert about.tuned == ("decode.blank_penalty",)
    page = (recipe / "results" / "weighed" / "README.md").read_text()
    assert "modified_beam, own" in page
    assert "Not compared" not in page


def test_seeds_are_run_one_after_the_other(recipe):
    """A plan that is stopped early has compared rows, not seeds of one row."""
    write_plan(recipe, "two", {**TWO, "factors": {"train.seed": [2, 1]}})
    told = plan(recipe, "two", "--dry-run").split()
    assert [word for word in told if word.startswith("two-")] == [
        *("two-tiny-seed1", "two-twin-seed1"),
        *("two-tiny-seed2", "two-twin-seed2"),
    ]


def test_only_the_runs_that_are_named_are_run(recipe):
    write_plan(recipe, "two", {**TWO, "factors": {"train.seed": [1, 2]}})
    plan(recipe, "two", "--only", "*-seed2", "--only", "two-tiny-*")
    assert published(recipe, "two") == ["two-tiny-seed1", "two-tiny-seed2", "two-twin-seed2"]
    assert plan(recipe, "two", "--dry-run").split()[-1] == "two-twin-seed1"
    assert "nothing to do: all 2 runs" in plan(recipe, "two", "--only", "*-seed2")
    done = call("plan", "two", "--recipe-dir", recipe, "--only", "*-seed3")
    assert explained(done, "--only *-seed3: fits no run of the plan two", "two-twin-seed2")


def test_trials_of_rows_that_are_not_named_are_left_out(recipe):
    tune = {"key": "train.peak_lr", "values": [1.0e-6, 0.004], "by": "loss"}
    write_plan(recipe, "tuned", {**TWO, "tune": tune})
    told = plan(recipe, "tuned", "--dry-run", "--only", "tuned-twin-*")
    assert told.count("tune-twin") == 2
    assert "tiny" not in told


def test_a_fresh_clone_has_nothing_to_do_for_what_is_published(recipe):
    write_plan(recipe, "two", {**TWO, "models": ["tiny"]})
    plan(recipe, "two")
    shutil.rmtree(recipe / "exp")
    assert "nothing to do" in plan(recipe, "two", "--dry-run")
    shutil.rmtree(recipe / "data")
    told = plan(recipe, "two", "--dry-run")
    assert "only configurations were compared" in told
    assert "nothing to do" in told
    write_plan(recipe, "two", {**TWO, "models": ["tiny"], "set": {"train.peak_lr": 0.5}})
    assert "train, decode, score two-tiny-seed1" in plan(recipe, "two", "--dry-run")
    done = call("plan", "two", "--recipe-dir", recipe)
    assert explained(done, "cuts_fbank.jsonl.gz: missing", "run.sh --recipe small")


def test_factors_of_any_section_are_run_and_compared(recipe):
    factors = {"model.loss.fast_emit": [0.0, 0.01], "data.max_frames": [900, 1000]}
    write_plan(recipe, "loss", {"title": "Loss", "models": ["tiny"], "factors": factors})
    plan(recipe, "loss")
    assert len(published(recipe, "loss")) == 4
    page = (recipe / "results/loss/README.md").read_text()
    assert "data.max_frames=1000" in page
    assert "more differs than was declared" not in page


def test_what_failed_is_named_and_alone_run_again(recipe, monkeypatch):
    write_plan(recipe, "two", TWO)
    (recipe / "exp" / "two-twin-seed1").mkdir(parents=True)
    blocked = recipe / "exp" / "two-twin-seed1" / "config.yaml"
    blocked.mkdir()
    done = call("plan", "two", "--recipe-dir", recipe)
    assert done.code == 1
    assert "1 jobs failed" in done.err
    assert "two-twin-seed1.log" in done.err
    assert "only these again" in done.err
    assert published(recipe, "two") == ["two-tiny-seed1"]
    blocked.rmdir()
    assert plan(recipe, "two", "--dry-run").splitlines() == ["train, decode, score two-twin-seed1"]
    plan(recipe, "two")
    assert published(recipe, "two") == ["two-tiny-seed1", "two-twin-seed1"]


def test_a_value_is_chosen_on_dev_and_recorded(recipe):
    tune = {"key": "train.peak_lr", "values": [1.0e-6, 0.004], "by": "loss"}
    tune |= {"set": {"train.seed": 1}, "judged_by": {"twin": "tiny"}}
    write_plan(recipe, "tuned", {**TWO, "tune": tune})
    told = plan(recipe, "tuned", "--dry-run")
    assert told.count("tune-tiny") == 2
    assert "tune-twin" not in told
    plan(recipe, "tuned")
    results = read_plan(recipe, "tuned")
    assert results.tuning is not None
    tiny, twin = results.tuning.models["tiny"], results.tuning.models["twin"]
    assert set(tiny.dev) == {"1e-06", "0.004"}
    assert tiny.chosen == float(min(tiny.dev, key=tiny.dev.__getitem__))
    assert (twin.trial, twin.chosen) == ("tiny", tiny.chosen)
    assert {run.record.factors["train.peak_lr"] for run in results.runs} == {tiny.chosen}
    for name in ("exp", "data"):
        shutil.rmtree(recipe / name)
        assert "nothing to do" in plan(recipe, "tuned", "--dry-run")


def test_a_start_is_trained_once_and_only_if_needed(recipe):
    start = {"model": "tiny", "set": {"train.seed": 5}}
    factors = {"model.loss.fast_emit": [0.0, 0.01]}
    content = {**TWO, "models": ["tiny"], "factors": factors, "start": start}
    write_plan(recipe, "further", content)
    call(
        "train",
        "--model",
        "tiny",
        "--name",
        "known",
        "--recipe-dir",
        recipe,
        "--set",
        "train.seed=5",
    )
    assert "start" not in plan(recipe, "further", "--dry-run")  # exp/known is that run
    shutil.rmtree(recipe / "exp" / "known")
    assert "further-start-tiny" in plan(recipe, "further", "--dry-run")
    plan(recipe, "further")
    assert len({run.record.start for run in read_plan(recipe, "further").runs}) == 1
    for name in ("exp", "data"):
        shutil.rmtree(recipe / name)
        assert "nothing to do" in plan(recipe, "further", "--dry-run")
    write_plan(recipe, "further", {**content, "start": {"model": "tiny"}})
    assert plan(recipe, "further", "--dry-run").count("train, decode, score") == 2


def test_plans_in_turn_and_at_once_lose_nothing(recipe):
    """The second plan publishes in the midst of the first one."""
    for name in ("one", "other"):
        write_plan(recipe, name, {"title": name, "models": ["tiny", "twin"]})

    def nested(function, jobs, **more):
        for index, outcome in here(function, jobs, **more):
            if not published(recipe, "other"):
                with patch("asrlib.experiments.run_plan.run_each", here):
                    plan(recipe, "other")
            yield index, outcome

    with patch("asrlib.experiments.run_plan.run_each", nested):
        plan(recipe, "one")
    assert published(recipe, "one") == ["one-tiny", "one-twin"]
    assert published(recipe, "other") == ["other-tiny", "other-twin"]
    page = (recipe / "RESULTS.md").read_text()
    assert "results/one" in page
    assert "results/other" in page


def test_what_the_command_line_changes_is_not_published_as_the_plans(recipe):
    write_plan(recipe, "two", {**TWO, "models": ["tiny"]})
    options = ("--set", "train.peak_lr=0.5")
    plan(recipe, "two", *options)
    assert not (recipe / "results").exists()
    assert (recipe / "exp/two-peak_lr0.5-tiny-seed1/final.pt").exists()
    assert "nothing to do" in plan(recipe, "two", "--dry-run", *options)
    assert "train, decode, score two-tiny-seed1" in plan(recipe, "two", "--dry-run")
    assert call("publish", "--recipe-dir", recipe).code == 0
    assert published(recipe, "two-peak_lr0.5") == ["two-peak_lr0.5-tiny-seed1"]


def test_a_finding_of_older_rows_stays_until_the_plan_says_another(recipe):
    write_plan(recipe, "two", {**TWO, "models": ["tiny"]})
    folder = recipe / "results" / "two"
    folder.mkdir(parents=True)
    old = Imported(commit="abc", source="RESULTS.md", finding="Seeds differ.", rows=())
    old.to_file(folder / "imported.json")
    plan(recipe, "two")
    assert "Seeds differ." in (folder / "README.md").read_text()
    write_plan(recipe, "two", {**TWO, "models": ["tiny"], "finding": "They do not."})
    plan(recipe, "two")
    assert "They do not." in (folder / "README.md").read_text()


def test_a_row_starts_from_the_model_that_it_names(recipe):
    call("train", "--model", "tiny", "--name", "known", "--recipe-dir", recipe)
    further = {
        "name": "further",
        "model": "tiny",
        "init": "exp/known/final.pt",
        "set": {"train.init_part": "encoder"},
    }
    content = {**TWO, "models": ["tiny"], "variants": [further]}
    write_plan(recipe, "rows", content)
    plan(recipe, "rows")
    starts = {run.record.name: run.record.start for run in read_plan(recipe, "rows").runs}
    known = read_record(recipe / "exp" / "known").identity
    assert starts == {"rows-tiny-seed1": None, "rows-further-seed1": known}
    assert "nothing to do" in plan(recipe, "rows", "--dry-run")
    shutil.rmtree(recipe / "exp")  # as elsewhere: what is published says from what it started
    assert "nothing to do" in plan(recipe, "rows", "--dry-run")

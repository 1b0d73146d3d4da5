"""Settings of decoding that dev chooses: the search over values, the command, and plans."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from command_fakes import call
from plan_fakes import here, prepare, write_plan

from asrlib.errors import ConfigError
from asrlib.experiments.plan_file import load_plan
from asrlib.experiments.store import read_plan
from asrlib.experiments.tune_decode import read_tuned, tune
from asrlib.recipe import Recipe

TUNED = {
    "title": "One model",
    "models": ["tiny"],
    "factors": {"train.seed": [1]},
    "searches": ["greedy"],
    "decoding": {
        "tag": "lm",
        "set": {"decode.lm.path": "data/lm/a.arpa", "decode.modified_beam.beam": 2},
        "tune": {"decode.lm.scale": [0.3, 0.0], "decode.blank_penalty": [0.0, 5.0]},
    },
}


def test_one_key_after_another_finds_the_best_of_each():
    asked = []

    def judge(settings) -> float:
        asked.append(dict(settings))
        return abs(settings["a"] - 2) + abs(settings["b"] - 1) + 5

    found = tune({"a": [0, 1, 2], "b": [0, 1, 9]}, judge, "dev")
    assert found.chosen == {"a": 2, "b": 1}
    assert found.wer == 5
    assert [t.settings for t in found.tried] == asked
    assert len(asked) == 1 + 2 + 2  # the sum, not the product
    assert tune({"a": [3, 1]}, lambda s: 7.0, "dev").chosen == {"a": 3}  # the first of equals


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("egs") / "small")


@pytest.fixture
def recipe(prepared, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("asrlib.experiments.run_plan.run_each", here)
    recipe = Path(shutil.copytree(prepared, tmp_path / "egs" / "small"))
    done = call("train-lm", "--recipe-dir", recipe, "--name", "a", "--order", "2")
    assert done.code == 0, done
    return recipe


def test_a_plan_decodes_test_once_with_what_dev_chose(recipe):
    write_plan(recipe, "tuned", TUNED)
    done = call("plan", "tuned", "--recipe-dir", recipe)
    assert done.code == 0, done
    model = recipe / "exp/tuned-tiny-seed1"
    chosen = read_tuned(model, "modified_beam", "lm")
    assert set(chosen.chosen) == set(TUNED["decoding"]["tune"])
    assert chosen.wer == min(t.wer for t in chosen.tried)
    meta = json.loads((model / "decode_test_modified_beam_lm/meta.json").read_text())
    assert meta["config"]["lm"]["scale"] == chosen.chosen["decode.lm.scale"]
    assert meta["config"]["blank_penalty"] == chosen.chosen["decode.blank_penalty"]
    assert meta["config"]["modified_beam"]["beam"] == 2
    assert not list(model.glob("decode_dev*"))
    (run,) = read_plan(recipe, "tuned").runs
    assert {s.meta.way for s in run.sets} == {"greedy", "modified_beam, lm"}
    assert "modified_beam, lm" in (recipe / "RESULTS.md").read_text()
    told = call("plan", "tuned", "--recipe-dir", recipe, "--dry-run")
    assert "nothing to do" in told.out
    tuning_obeys_the_number_of_threads(recipe, model.name)


def tuning_obeys_the_number_of_threads(recipe: Path, name: str) -> None:
    """Torch's own number once made it twenty times slower beside another process."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        tries = ("--try", "decode.blank_penalty=[0.0]", "--set", "decode.num_threads=1")
        where = ("--recipe-dir", recipe, "--name", name, "--tag", "x")
        done = call("tune-decode", *where, *tries)
        assert done.code == 0, done
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"set": {"train.seed": 2}}, "train.seed"),
        ({"tune": {"decode.lm.scale": []}}, "has no values"),
        ({"tag": "a b"}, "no tag"),
        ({"search": "beam"}, "no search beam"),
    ],
)
def test_a_wrong_decoding_is_named(recipe, change, words):
    write_plan(recipe, "tuned", {**TUNED, "decoding": {**TUNED["decoding"], **change}})
    with pytest.raises(ConfigError, match=words):
        load_plan(Recipe(recipe), "tuned")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--try", "decode.lm.scale=0.3", "--tag", "x"), "no list of values"),
        (("--try", "train.seed=[1]", "--tag", "x"), "no list of values"),
        (("--try", "decode.lm.scal=[1.0]", "--tag", "x"), "unknown key lm.scal"),
        (("--try", "decode.lm.scale=[1.0]"), "--tag is missing"),
        (("--try", "decode.lm.scale=[1.0]", "--tag", "x", "--on", "test"), "must not choose"),
    ],
)
def test_wrong_options_have_a_mend(recipe, args, words):
    done = call("tune-decode", "--recipe-dir", recipe, "--name", "m", *args)
    assert done.code != 0
    assert words in done.err


def test_the_plan_of_every_recipe_is_valid(repo):
    plan = load_plan(Recipe(repo / "egs/an4"), "lm")
    assert plan.config.decoding is not None

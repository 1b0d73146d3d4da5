"""A run of a plan that exp/ already holds under another name is copied, not trained again."""

from __future__ import annotations

from pathlib import Path

from command_fakes import call
from small_transducer import write_recipe

from asrlib.experiments.run_record import read_record


def train(recipe: Path, name: str, *options: str) -> str:
    """The log of a training."""
    words = ("--model", "tiny", "--name", name, "--recipe-dir", recipe)
    assert call("train", *words, *options).code == 0
    return (recipe / "exp" / name / "log" / "train.log").read_text()


def test_only_the_same_training_is_copied(tmp_path):
    recipe = write_recipe(tmp_path / "egs")
    exp = recipe / "exp"
    train(recipe, "tiny")
    assert "the same training: it is copied" in train(recipe, "seeds-tiny", "--plan", "seeds")
    assert (exp / "seeds-tiny" / "final.pt").read_bytes() == (
        exp / "tiny" / "final.pt"
    ).read_bytes()
    trained, copied = read_record(exp / "tiny"), read_record(exp / "seeds-tiny")
    assert (copied.name, copied.plan) == ("seeds-tiny", "seeds")
    assert (copied.identity, copied.started) == (trained.identity, trained.started)
    assert "up to date" in train(recipe, "seeds-tiny", "--plan", "seeds")
    other = train(recipe, "seeds-tiny5", "--plan", "seeds", "--set", "train.seed=5")
    assert "copied" not in other

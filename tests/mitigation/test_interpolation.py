"""Models between a start and the model that was fine-tuned from it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from click.testing import CliRunner
from mitigation_fakes import START, adapt, save_model, weights, write_cohort_recipe
from small_transducer import CONFIG, transducer

from asrlib.cli.interpolate import command
from asrlib.errors import CheckpointError, UserError
from asrlib.experiments.run_record import identity_in, read_record
from asrlib.mitigation.interpolation import interpolate

METHOD = "mitigation.adaptation.method=finetune"


@pytest.fixture
def recipe(tmp_path):
    recipe = write_cohort_recipe(tmp_path / "egs")
    adapt(recipe, "tuned", METHOD)
    return recipe


def run(recipe, share: str, name: str, start: str = "start", end: str = "tuned"):
    words = ["--recipe-dir", str(recipe), "--start", start, "--end", end]
    result = CliRunner().invoke(
        command, [*words, "--share", share, "--name", name], standalone_mode=False
    )
    if result.exception:
        raise result.exception
    return recipe / "exp" / name / "final.pt"


def test_the_ends_are_the_start_and_the_fine_tuned_model(recipe):
    first, last = weights(recipe / START), weights(recipe / "exp/tuned/final.pt")
    none, all_of_it = weights(run(recipe, "0", "none")), weights(run(recipe, "1", "all"))
    half = weights(run(recipe, "0.5", "half"))
    for name, weight in first.items():
        assert torch.equal(none[name], weight), name
        assert torch.equal(all_of_it[name], last[name]), name
        assert torch.allclose(half[name], (weight + last[name]) / 2), name
    assert any(not torch.equal(half[name], first[name]) for name in first)


def test_its_record_is_of_its_own_and_declares_the_share(recipe):
    run(recipe, "0.25", "quarter")
    record = read_record(recipe / "exp/quarter")
    assert record.factors == {"interpolation.share": 0.25}
    assert record.config["interpolation"] == {"share": 0.25}
    assert record.name == "quarter"
    assert record.argv[3] == "interpolate"
    assert record.identity != identity_in(recipe / "exp/tuned")


def test_another_start_is_refused(recipe):
    save_model(transducer(seed=9), recipe / "exp/other/final.pt")
    with pytest.raises(CheckpointError, match=r"tuned: was not adapted from .*other"):
        run(recipe, "0.5", "half", start="other")
    with pytest.raises(CheckpointError, match="holds one of the two models"):
        run(recipe, "0.5", "tuned")
    with pytest.raises(UserError, match=r"run\.json: missing"):
        run(recipe, "0.5", "half", end="start")


def test_models_of_other_sizes_are_refused(recipe, tmp_path):
    save_model(transducer(dataclasses.replace(CONFIG, joiner_dim=8)), tmp_path / "small.pt")
    with pytest.raises(CheckpointError, match=r"joiner\.encoder_proj\.weight does not fit"):
        interpolate(tmp_path / "small.pt", recipe / START, 0.5, tmp_path / "out.pt")

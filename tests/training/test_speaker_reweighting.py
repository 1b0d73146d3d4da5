"""Reweighting of the real extractors, from the configuration."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lhotse import CutSet
from speaker_fakes import CONFIG, speaker_model, write_recipe
from test_speaker_task import run, struck, task

from asrlib.checkpoint_file import load
from asrlib.config import from_dict, to_dict
from asrlib.errors import CheckpointError, ConfigError
from asrlib.recipe import Recipe
from asrlib.speakers.adversary import ReweightingConfig
from asrlib.speakers.model import SpeakerModelConfig
from asrlib.speakers.model_io import KIND, load_speaker_model
from asrlib.speakers.resnet import ResNetConfig
from asrlib.training.build import load_configs
from asrlib.training.speaker_task import SpeakerTask

KEPT = ("--set", "train.keep_last=9")
RESNET = ResNetConfig(channels=4, se_reduction=2, attention_dim=4, embedding_dim=6)
KINDS = ("accumulated", "pseudo_labels", "pairwise", "group_dro")


@pytest.fixture
def recipe(tmp_path) -> Path:
    return write_recipe(tmp_path / "egs")


def options(kind: str, *more: str) -> tuple[str, ...]:
    values = (f"kind={kind}", "warmup_steps=2", "regions=3", "lr=0.05", "step_size=0.5", *more)
    return tuple(part for v in values for part in ("--set", f"model.reweighting.{v}"))


def state(recipe: Path, name: str) -> dict:
    """What the last checkpoint holds of the task."""
    path = max((recipe / "exp" / name / "checkpoints").glob("step-*.pt"))
    return load(path, f"{KIND}-training")["task"]


def checkpoint(recipe: Path, name: str, step: int) -> dict:
    path = recipe / "exp" / name / "checkpoints" / f"step-{step:08d}.pt"
    return load(path, f"{KIND}-training")


@pytest.mark.parametrize("kind", ["pairwise", "group_dro"])
def test_killed_and_continued_equals_uninterrupted(recipe, kind):
    chosen = options(kind)
    run(recipe, *chosen, "--name", "whole")
    whole, pieces = (recipe / "exp" / d for d in ("whole", "pieces"))
    for name, step in (("KILL", 4), ("TERM", 7), ("KILL", 9)):
        assert struck(name, step, recipe, *chosen, "--name", "pieces") != 0
    assert run(recipe, *chosen, "--name", "pieces") == 0
    files = [Path("final.pt"), *(p.relative_to(whole) for p in whole.glob("checkpoints/*.pt"))]
    assert len(files) > 4
    for file in files:
        assert (whole / file).read_bytes() == (pieces / file).read_bytes(), file
    held = state(recipe, "pieces")
    assert held["regions"]["centroids"].shape == (3, 8)
    assert len(held["regions"]["members"]) == 12  # two utterances of each of six speakers


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_its_model_embeds(recipe, kind):
    run(recipe, *options(kind, "permuted=true"), "--set", "train.log_interval=1")
    out = recipe / "exp" / "tiny_speaker"
    assert "weight_max" in (out / "log" / "train.log").read_text()
    loaded = load_speaker_model(out)
    assert loaded.model.config.reweighting.kind == kind
    names = loaded.model.state_dict()
    assert all(name.startswith(("extractor.", "loss.")) for name in names)


def test_none_keeps_no_state_and_weights_change_the_training(recipe):
    run(recipe, "--name", "none")
    assert state(recipe, "none") == {}
    run(recipe, *options("pairwise"), "--name", "pairwise")
    none, pairwise = (
        load(recipe / "exp" / name / "final.pt", KIND)["model"] for name in ("none", "pairwise")
    )
    assert any(not torch.equal(none[name], pairwise[name]) for name in none)
    with pytest.raises(CheckpointError, match="reweighting"):
        run(recipe, *options("accumulated"), "--name", "pairwise")


def test_steps_of_the_warm_up_are_those_without_weights(recipe):
    """Of twelve steps, the first six have no weights and the last six do."""
    run(recipe, *KEPT, "--name", "none")
    run(recipe, *KEPT, *options("pairwise", "warmup_steps=6"), "--name", "warm")
    for step, equal in ((3, True), (6, True), (9, False), (12, False)):
        none, warm = (checkpoint(recipe, name, step) for name in ("none", "warm"))
        same = [torch.equal(none["model"][name], warm["model"][name]) for name in none["model"]]
        assert all(same) == equal, step
        # Embeddings of an extractor that has learned little yet have no regions worth finding.
        assert (warm["task"]["regions"]["centroids"] is None) == equal, step


def test_a_warm_up_of_the_whole_training_is_refused(recipe):
    with pytest.raises(ConfigError, match=r"reweighting\.warmup_steps: 12, .* 12 steps") as caught:
        run(recipe, *options("pairwise", "warmup_steps=12"))
    assert "train.max_steps" in caught.value.fix
    short = ("--set", "train.max_steps=5")
    with pytest.raises(ConfigError, match="the training has 5 steps"):
        run(recipe, *options("group_dro", "warmup_steps=99"), *short)
    assert run(recipe, *options("none", "warmup_steps=99"), *short) == 0
    assert run(recipe, *options("pairwise", "warmup_steps=4"), *short, "--name", "last") == 0


@pytest.mark.parametrize("kind", ["pairwise", "group_dro"])
def test_a_linear_output_of_lower_precision_has_regions(recipe, kind):
    """The first regions are found in the midst of a step, which is under autocast."""
    values = yaml.safe_load((recipe / "conf" / "model" / "tiny_speaker.yaml").read_text())
    values["extractor"] = to_dict(RESNET)
    (recipe / "conf" / "model" / "resnet.yaml").write_text(yaml.safe_dump(values))
    short = ("--set", "train.precision=bfloat16", "--set", "train.max_steps=5")
    assert run(recipe, *short, *options(kind), model="resnet") == 0
    assert state(recipe, "resnet")["regions"]["centroids"].shape == (3, 6)


def test_regions_do_not_depend_on_the_precision(tmp_path):
    reweighting = ReweightingConfig(kind="group_dro", warmup_steps=0, regions=3)
    plain = task(tmp_path, speakers=6)
    found = []
    for enabled in (False, True):
        made = speaker_model(6, replace(CONFIG, extractor=RESNET, reweighting=reweighting))
        trained = SpeakerTask(made, plain.source, plain.config)
        batch = next(iter(trained.train_batches(0, 0)))
        with torch.autocast("cpu", torch.bfloat16, enabled):
            trained.loss(batch, 0)
        found.append(trained.state()["regions"])
    for name in ("centroids", "members"):
        assert torch.equal(found[0][name], found[1][name]), name


def test_training_utterance_without_a_finite_embedding_ends_nothing(recipe):
    path = recipe / "data" / "train" / "cuts_fbank.jsonl.gz"
    cuts = list(CutSet.from_file(path))
    bad = cuts[0].features
    stored = Path(bad.storage_path) / bad.storage_key
    features_TF = np.load(stored)
    features_TF[2] = math.nan
    np.save(stored, features_TF)
    assert run(recipe, *options("pairwise"), "--set", "train.bad_batch_budget=99") == 0
    log = (recipe / "exp" / "tiny_speaker" / "log" / "train.log").read_text()
    assert "regions: 1 of 12 embeddings are not finite" in log
    assert int((state(recipe, "tiny_speaker")["regions"]["members"] == -1).sum()) == 1


@pytest.mark.parametrize("name", ["ecapa", "resnet34"])
def test_yaml_spells_out_the_defaults(repo, name):
    path = repo / "conf" / "model" / "speaker" / f"{name}.yaml"
    assert yaml.safe_load(path.read_text())["reweighting"] == to_dict(ReweightingConfig())


@pytest.mark.parametrize("name", [*KINDS, "permuted"])
def test_every_kind_is_a_file_of_conf(recipe, name):
    model = load_configs(Recipe(recipe), f"speaker/ecapa/{name}").model
    plain = load_configs(Recipe(recipe), "speaker/ecapa").model
    assert model.reweighting.kind == ("pairwise" if name == "permuted" else name)
    assert model.reweighting.permuted == (name == "permuted")
    assert (model.extractor, model.loss) == (plain.extractor, plain.loss)
    assert plain.reweighting == CONFIG.reweighting


def test_a_model_of_before_reweighting_loads():
    values = to_dict(CONFIG)
    del values["reweighting"]
    assert from_dict(SpeakerModelConfig, values) == CONFIG

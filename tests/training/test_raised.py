"""Whom a reweighted training raised: the weights of its speakers, by group."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from speaker_fakes import speaker_cuts, write_recipe
from test_speaker_reweighting import options
from test_speaker_task import run

from asrlib.cli.raised import command
from asrlib.errors import CheckpointError, ConfigError, DataError
from asrlib.experiments.publish import collect_run
from asrlib.experiments.raised import whom_raised
from asrlib.recipe import Recipe
from asrlib.scoring.score import read_config
from asrlib.training.build import load_configs
from asrlib.training.speaker_task import SpeakerTask
from asrlib.training.speaker_weights import RegionDro
from asrlib.verification.raised import Raised, raised_groups


@pytest.fixture
def recipe(tmp_path) -> Path:
    directory = write_recipe(tmp_path / "egs")
    rows = [f"train{n}\ttrain\t{'fm'[n % 2]}\t{'ab'[n // 3]}" for n in range(6)]
    table = "\n".join(["speaker\tset\tgender\tcorpus", *rows])
    (directory / "data" / "speakers.tsv").write_text(table + "\n")
    return directory


def weighed(recipe: Path, name: str = "tiny_speaker") -> Raised:
    found = Recipe(recipe)
    return whom_raised(found, name, 8, read_config(found))


def test_groups_by_hand():
    weights = {"a": 2.0, "b": 1.0, "c": 0.5, "d": 0.5, "e": 1.0}
    facts = {
        "a": {"age": "7", "corpus": "x"},
        "b": {"age": "9", "corpus": "x"},
        "c": {"age": "30", "corpus": "x"},
        "d": {"age": "40", "corpus": "y"},
        "e": {"age": "50", "corpus": "y"},
    }
    found = raised_groups(weights, facts, ["age", "corpus", "gender"], {"age": [16]}, 2)
    assert list(found) == ["age", "corpus", "age and corpus"]
    assert [g.value for g in found["age and corpus"]] == ["<16, x", ">=16, y"]
    young, old = found["age"]
    assert (young.value, young.speakers, young.mean, young.std) == ("<16", 2, 1.5, 0.5)
    assert (old.value, old.speakers) == (">=16", 3)
    assert old.mean == pytest.approx(2 / 3)
    both = raised_groups(weights, facts, ["age", "corpus"], {"age": [16]}, 1)["age and corpus"]
    assert [(g.value, g.speakers) for g in both] == [("<16, x", 2), (">=16, x", 1), (">=16, y", 2)]


@pytest.mark.parametrize("kind", ["pairwise", "accumulated", "pseudo_labels", "group_dro"])
def test_weights_have_mean_one_and_groups_are_means_of_speakers(recipe, kind):
    """All speakers have equally many utterances, so the mean over speakers is 1, too."""
    run(recipe, *options(kind))
    found = weighed(recipe)
    assert (found.speakers, found.step) == (6, 12)
    assert list(found.groups) == ["gender", "corpus"]  # of both together, groups are too small
    for groups in found.groups.values():
        assert [g.speakers for g in groups] == [3, 3]
        assert fmean(g.mean for g in groups) == pytest.approx(1.0, abs=1e-5)
        assert all(found.lowest <= g.mean <= found.highest for g in groups)


def test_weights_of_group_dro_are_those_of_the_regions(tmp_path, recipe):
    run(recipe, *options("group_dro"))
    overrides = tuple(o for o in options("group_dro") if o != "--set")
    configs = load_configs(Recipe(recipe, overrides), "tiny_speaker")
    task = configs.build_task(recipe / "data", None)
    assert isinstance(task, SpeakerTask)
    assert task.weights is not None
    with pytest.raises(ConfigError, match="without a weight"):
        task.weights_of_speakers(["train0"], 8)  # regions are found when the weights begin
    names, vectors_ND = zip(*_embedded(task), strict=True)
    task.weights.refresh(torch.stack(vectors_ND))
    player = task.weights.player
    assert isinstance(player, RegionDro)
    player.load_state({**player.state(), "log_q": torch.tensor([0.5, 0.3, 0.2]).log()})
    found = task.weights_of_speakers(sorted(set(names)), 8)
    raw = player.group_weights(task.weights.regions.assign(torch.stack(vectors_ND)))
    raw = (raw / raw.mean()).tolist()
    for name in found:
        own = [w for n, w in zip(names, raw, strict=True) if n == name]
        assert found[name] == pytest.approx(fmean(own), abs=1e-6)


def _embedded(task: SpeakerTask) -> list[tuple[str, torch.Tensor]]:
    task.model.eval()
    named, vectors_ND = task._embedded(task.source.train, 8)
    return [(name, v) for (name, _), v in zip(named, vectors_ND, strict=True)]


def test_speakers_at_another_speed_are_left_out(recipe):
    path = recipe / "data" / "train" / "cuts_fbank.jsonl.gz"
    folder = recipe / "data" / "fbank" / "fast"
    speaker_cuts(folder, 6, prefix="train", speeds=(1.0, 1.1)).to_file(path)
    run(recipe, *options("pairwise"))
    assert weighed(recipe).speakers == 6


def test_what_has_no_weights_is_refused(recipe):
    run(recipe, "--name", "plain")
    with pytest.raises(ConfigError, match="kind: none"):
        weighed(recipe, "plain")
    run(recipe, *options("pairwise"))
    config = recipe / "exp" / "tiny_speaker"
    for path in (config / "checkpoints").glob("step-*.pt"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"no step-\*\.pt"):
        weighed(recipe)


def test_other_data_and_a_table_without_the_speakers_are_refused(recipe):
    run(recipe, *options("pairwise"))
    table = recipe / "data" / "speakers.tsv"
    table.write_text(table.read_text().replace("train", "other"))
    with pytest.raises(DataError, match="names no training speaker"):
        weighed(recipe)
    cuts = speaker_cuts(recipe / "data" / "fbank" / "four", 4, prefix="train")
    cuts.to_file(recipe / "data" / "train" / "cuts_fbank.jsonl.gz")
    with pytest.raises(CheckpointError, match="cannot build"):
        weighed(recipe)


def test_the_command_writes_what_publish_copies(recipe):
    run(recipe, *options("pairwise"))
    where = ("--recipe-dir", str(recipe), "--name", "tiny_speaker")
    result = CliRunner().invoke(command, where, standalone_mode=False)
    assert result.exception is None
    assert "mean weights of 6 training speakers" in result.output
    held, skipped = collect_run(Recipe(recipe), "tiny_speaker")
    assert not skipped
    assert held.raised is not None
    assert {g.value for g in held.raised.groups["corpus"]} == {"a", "b"}
    run(recipe, *options("pairwise"), "--set", "train.seed=9", "--force")
    held, skipped = collect_run(Recipe(recipe), "tiny_speaker")
    assert held.raised is None  # whether the training cleared it or it is of another one


def test_a_column_that_is_missing_is_named(recipe):
    run(recipe, *options("pairwise"))
    arguments = ["--recipe-dir", str(recipe), "--name", "tiny_speaker", "--column", "shoe_size"]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert isinstance(result.exception, ConfigError)
    assert "no column shoe_size" in result.exception.what


def test_only_speakers_of_the_names(tmp_path, recipe):
    task = load_configs(Recipe(recipe), "tiny_speaker").build_task(recipe / "data", None)
    kept = task.source.train.only(["train2", "nobody"])
    assert kept.names == ("train2",)
    assert np.all([cut.supervisions[0].speaker == "train2" for cut in kept.cuts[0]])

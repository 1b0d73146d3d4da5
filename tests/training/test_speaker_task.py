"""Training a speaker extractor: by the same command and trainer as every other model."""

from __future__ import annotations

import logging
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from lhotse import CutSet, NumpyFilesWriter
from small_transducer import write_recipe as write_transducer_recipe
from speaker_fakes import FBANK, speaker_cut, speaker_cuts, speaker_model, write_recipe
from tiny_task import strike

from asrlib.checkpoint_file import load
from asrlib.cli.train import command
from asrlib.data.augment import AugmentConfig
from asrlib.data.speaker_dataset import SpeakerBatch, SpeakerCuts, SpeakerDataConfig
from asrlib.errors import CheckpointError, ConfigError, DataError
from asrlib.recipe import Recipe
from asrlib.speakers.model_io import KIND
from asrlib.training.build import load_configs
from asrlib.training.config import TrainConfig
from asrlib.training.speaker_task import SpeakerSource, SpeakerTask
from asrlib.training.stepper import Stepper


@pytest.fixture
def recipe(tmp_path) -> Path:
    return write_recipe(tmp_path / "egs")


def run(recipe: Path, *options: str, model: str = "tiny_speaker") -> int:
    """Exit code; errors for the user are raised as they are."""
    arguments = ["--recipe-dir", str(recipe), "--model", model, *options]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    if isinstance(result.exception, SystemExit):
        return result.exception.code
    if result.exception:
        raise result.exception
    return 0


def task(tmp_path, speakers: int = 4, frames: tuple[int, ...] = (60, 25, 90)) -> SpeakerTask:
    train = SpeakerCuts.of(speaker_cuts(tmp_path / "train", speakers, frames), True)
    dev = SpeakerCuts.of(speaker_cuts(tmp_path / "dev", 3, prefix="dev"), True)
    data = SpeakerDataConfig(speakers=4, crop_seconds=0.4)
    augment = AugmentConfig(spec_probability=0.0)
    source = SpeakerSource(train, dev, None, FBANK, data, augment)
    return SpeakerTask(speaker_model(len(train.names)), source, TrainConfig(num_workers=0))


def test_leaves_what_every_training_leaves(recipe):
    assert run(recipe) == 0
    out = recipe / "exp" / "tiny_speaker"
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert set(config) == {"model", "train", "speaker", "augment", "features"}
    assert config["train"]["best_by"] == "eer"  # from conf/speaker.yaml
    assert config["train"]["epochs"] == 3  # from the recipe's conf/speaker.yaml
    assert config["augment"]["max_frame_width"] == 20
    assert config["speaker"]["train"] == config["speaker"]["augment"] == {}
    content = load(out / "final.pt", KIND)
    assert content["payload"]["num_classes"] == 6
    assert [step for step, _ in content["facts"]["history"]] == [3, 6, 9, 12]
    assert 0 <= content["facts"]["dev"]["eer"] <= 1
    assert -1 <= content["facts"]["dev"]["eer_threshold"] <= 1


def test_command_line_and_recipe_replace_the_values_of_conf_speaker(recipe):
    options = ("speaker.augment.max_frame_width=7", "train.peak_lr=0.5", "augment.gain=2.0")
    configs = load_configs(Recipe(recipe, options), "tiny_speaker")
    assert (configs.augment.max_frame_width, configs.augment.gain) == (7, 2.0)
    assert configs.train.peak_lr == 0.5
    with pytest.raises(ConfigError, match=r"speaker\.train: no key epoch in conf/train\.yaml"):
        load_configs(Recipe(recipe, ("speaker.train.epoch=1",)), "tiny_speaker")


@pytest.mark.parametrize("name", ["ecapa", "ecapa_512", "resnet34"])
def test_models_of_conf_load(recipe, name):
    configs = load_configs(Recipe(recipe), f"speaker/{name}")
    assert configs.model.extractor.name == name.removesuffix("_512")


def test_thinning_counts_training_speakers_alone(recipe):
    """Those of dev and test stand in the same table; they once raised the number that is kept."""
    rows = [f"train{i}\ttrain\t{8 if i < 4 else 40}" for i in range(6)]
    rows += [f"test{i}\ttest\t8" for i in range(40)]
    (recipe / "data" / "speakers.tsv").write_text("\n".join(["speaker\tset\tage", *rows, ""]))
    run(recipe, "--set", "speaker.thin=[{column: age, high: 16, share: 0.5}]")
    out = recipe / "exp" / "tiny_speaker"
    assert load(out / "final.pt", KIND)["payload"]["num_classes"] == 4  # two children, two adults
    assert "2 of 4 speakers of age below 16" in (out / "log" / "train.log").read_text()


def struck(name: str, step: int, recipe: Path, *options: str) -> int:
    """Exit code of a child that trains until a signal strikes it in the midst of a step."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            loss = SpeakerTask.loss

            def struck_loss(self, batch, at):
                if at == step:
                    strike(name)
                return loss(self, batch, at)

            SpeakerTask.loss = struck_loss
            code = run(recipe, *options)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    ("name", "code", "steps"), [("KILL", -signal.SIGKILL, (2, 7, 8)), ("TERM", 143, (7,))]
)
def test_struck_and_continued_equals_uninterrupted(recipe, name, code, steps):
    masks = ("--set", "augment.gain=3.0", "--set", "augment.max_feature_width=4")
    run(recipe, *masks, "--name", "whole")
    whole, pieces = (recipe / "exp" / d for d in ("whole", "pieces"))
    for step in steps:
        assert struck(name, step, recipe, *masks, "--name", "pieces") == code
    assert run(recipe, *masks, "--name", "pieces") == 0
    files = [Path("final.pt"), *(p.relative_to(whole) for p in whole.glob("checkpoints/*.pt"))]
    assert len(files) > 4
    for file in files:
        assert (whole / file).read_bytes() == (pieces / file).read_bytes(), file


def test_learns_to_tell_a_few_speakers_apart(tmp_path):
    trained = task(tmp_path, frames=(80, 80, 80))
    config = replace(trained.config, peak_lr=5e-3, warmup_steps=5, schedule="constant")
    stepper = Stepper(trained, config)
    before = trained.evaluate()
    step = 0
    for epoch in range(25):
        for batch in trained.train_batches(epoch, 0):
            report = stepper.step(batch, step, 100)
            step += 1
    count = report.sums.stats["accuracy"][1]
    assert report.sums.stats["accuracy"][0] == count
    assert report.sums.stats["prototypical"][0] / count < 0.1
    after = trained.evaluate()
    assert after["eer"] < before["eer"] or before["eer"] < 0.1
    assert after["accuracy"] > 0.9


def test_weight_of_the_loss_is_the_number_of_speakers(tmp_path):
    trained = task(tmp_path)
    (batch,) = list(trained.train_batches(0, 0))[:1]
    sums = trained.loss(batch, 0)
    assert sums.weight == len(batch.ids) == len(sums.per_item_B) == 4
    assert sums.seconds == pytest.approx(4 * 2 * 0.4)
    kept = trained.drop(batch, batch.ids[:1])
    assert kept.ids == batch.ids[1:]
    assert torch.equal(kept.x_SUTF, batch.x_SUTF[1:])
    assert torch.equal(kept.classes_S, batch.classes_S[1:])
    assert trained.drop(batch, batch.ids) is None


def test_speaker_with_a_feature_that_is_not_finite_is_dropped_alone(tmp_path, caplog):
    trained = task(tmp_path)
    batch = next(iter(trained.train_batches(0, 0)))
    bad = SpeakerBatch(batch.x_SUTF.clone(), batch.classes_S, batch.ids)
    bad.x_SUTF[1, 0, 3, 2] = math.nan
    report = Stepper(trained, trained.config).step(bad, 0, 10)
    assert report.bad_ids == [batch.ids[1]]
    assert math.isfinite(report.norm)
    assert all(torch.isfinite(v).all() for v in trained.model.state_dict().values())


def test_dev_utterance_that_is_not_finite_is_named_and_left_out(tmp_path, caplog):
    trained = task(tmp_path)
    with NumpyFilesWriter(tmp_path) as writer:
        cuts = [speaker_cut(writer, f"d{i}", n, 50) for i in range(3) for n in range(2)]
        bad = speaker_cut(writer, "d0", 9, 50)
        features_TF = bad.load_features()
        features_TF[3] = math.nan
        bad.features.storage_key = writer.write("spoilt", features_TF)
    dev = SpeakerCuts.of([*cuts, bad], True)
    trained.source = replace(trained.source, dev=dev)
    with caplog.at_level(logging.WARNING):
        spoilt = trained.evaluate()
    assert "dev: embedding is not finite, left out: d0-9" in caplog.text
    assert all(math.isfinite(value) for value in spoilt.values())
    trained.source = replace(trained.source, dev=SpeakerCuts.of(cuts, True))
    assert trained.evaluate()["eer"] == spoilt["eer"]


def test_evaluation_changes_nothing_and_repeats(tmp_path):
    trained = task(tmp_path)
    before = {k: v.clone() for k, v in trained.model.state_dict().items()}
    first = trained.evaluate()
    assert first == trained.evaluate()
    after = trained.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_start_from_a_trained_extractor(recipe):
    short = ("--set", "train.max_steps=1", "--set", "train.peak_lr=1e-9")
    run(recipe, *short, "--name", "parent")
    start = ("--init", str(recipe / "exp" / "parent"), "--set", "train.seed=2")
    run(recipe, *short, *start, "--name", "child")
    run(recipe, *short, "--set", "train.seed=2", "--name", "stranger")
    parent, child, stranger = (
        load(recipe / "exp" / n / "final.pt", KIND)["model"]
        for n in ("parent", "child", "stranger")
    )
    name = "extractor.output.weight"
    torch.testing.assert_close(child[name], parent[name])
    assert not torch.allclose(stranger[name], parent[name])
    assert not torch.allclose(child["loss.aam.weight_CD"], parent["loss.aam.weight_CD"])
    wider = ("--set", "model.extractor.channels=32")
    with pytest.raises(CheckpointError, match="has another extractor"):
        run(recipe, *short, *start, *wider, "--name", "wide")


def spoil(recipe: Path, name: str, cuts: CutSet) -> None:
    cuts.to_file(recipe / "data" / name / "cuts_fbank.jsonl.gz")


def test_sets_without_pairs_are_refused(recipe, tmp_path):
    spoil(recipe, "dev", speaker_cuts(tmp_path / "a", 5, lengths=(60,)))
    with pytest.raises(DataError, match=r"dev/cuts_fbank.*no speaker has two utterances"):
        run(recipe)
    spoil(recipe, "train", speaker_cuts(tmp_path / "b", 1))
    with pytest.raises(DataError, match=r"train/cuts_fbank.*has 1 speakers"):
        run(recipe)
    (recipe / "data" / "train" / "cuts_fbank.jsonl.gz").unlink()
    with pytest.raises(DataError, match="run stage 2"):
        run(recipe)


def test_features_of_other_bins_are_refused(recipe):
    with pytest.raises(DataError, match="12 mel bins, not 80"):
        run(recipe, "--set", "features.num_bins=80")


def test_recogniser_is_no_start(tmp_path, recipe):
    other = write_transducer_recipe(tmp_path / "transducer")
    run(other, "--set", "train.max_steps=1", model="tiny")
    with pytest.raises(CheckpointError, match="holds a recogniser, not a speaker model"):
        run(recipe, "--init", str(other / "exp" / "tiny"))

"""`python -m asrlib train` on a small recipe: what it leaves, skips, continues and refuses."""

from __future__ import annotations

import fcntl
import gzip
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from click.testing import CliRunner
from lhotse import CutSet, Recording, SupervisionSegment
from small_transducer import FBANK, tokenizer, transducer, write_recipe

from asrlib.checkpoint_file import load, save
from asrlib.cli.train import command
from asrlib.errors import CheckpointError, ConfigError, DataError, UserError
from asrlib.experiments.run_record import read_record
from asrlib.recipe import Recipe
from asrlib.streaming.greedy import GreedyConfig
from asrlib.streaming.settings import DecodeConfig
from asrlib.text.tokenizer import TokensConfig, train_tokenizer
from asrlib.training import transducer_build
from asrlib.training.build import Configs, load_configs
from asrlib.training.dev_wer import dev_wer
from asrlib.training.trainer import TRAIN_VERSION, differences
from asrlib.transducer.model_io import load_transducer


@pytest.fixture
def recipe(tmp_path) -> Path:
    return write_recipe(tmp_path / "egs")


def run(recipe: Path, *options: str) -> int:
    """Exit code; errors for the user are raised as they are."""
    arguments = ["--recipe-dir", str(recipe), "--model", "tiny", *options]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    if isinstance(result.exception, SystemExit):
        return result.exception.code
    if result.exception:
        raise result.exception
    return 0


def log(recipe: Path, name: str = "tiny") -> str:
    return (recipe / "exp" / name / "log" / "train.log").read_text()


def test_leaves_what_decoding_and_people_need(recipe):
    run(recipe)
    out = recipe / "exp" / "tiny"
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert set(config) == {"model", "train", "data", "augment", "features"}
    assert config["features"]["num_bins"] == 12
    assert (out / "tensorboard").is_dir()
    assert "dev: loss" in log(recipe)
    model = load_transducer(out / "final.pt").model
    assert model.encoder.norm.mean_F[0] == 0.5


def test_its_record_says_what_it_is_and_how_to_repeat_it(recipe):
    factor = "train.peak_lr=0.003"
    run(recipe, "--set", factor, "--name", "slow", "--plan", "rates", "--factor", factor)
    record = read_record(recipe / "exp" / "slow")
    assert record.argv == (
        *("python", "-m", "asrlib", "train"),
        *("--recipe-dir", f"{recipe.parent.name}/{recipe.name}"),
        *("--model", "tiny", "--name", "slow", "--plan", "rates", "--factor", factor),
        *("--set", factor),
    )
    assert (record.model, record.name, record.plan) == ("tiny", "slow", "rates")
    assert record.factors == {"train.peak_lr": 0.003}
    assert record.config == yaml.safe_load((recipe / "exp/slow/config.yaml").read_text())
    assert set(record.data) == {"train", "dev", "lang/bpe.model"}
    assert record.seed == 1


def test_a_run_that_starts_from_another_says_from_which(recipe):
    run(recipe)
    run(recipe, "--name", "further", "--init", str(recipe / "exp" / "tiny"))
    parent, child = (read_record(recipe / "exp" / name) for name in ("tiny", "further"))
    assert parent.start is None
    assert child.start == parent.identity != child.identity


def test_a_factor_that_the_training_does_not_have_is_refused(recipe):
    with pytest.raises(ConfigError, match=r"the training has train.seed: 1\n.*give --set"):
        run(recipe, "--factor", "train.seed=2")
    with pytest.raises(ConfigError, match=r"factor train\.sed: .* reads no such key"):
        run(recipe, "--factor", "train.sed=2")


def test_complete_is_skipped_and_force_redoes(recipe):
    run(recipe)
    final = recipe / "exp" / "tiny" / "final.pt"
    content, before = final.read_bytes(), final.stat().st_mtime_ns
    run(recipe)
    assert final.stat().st_mtime_ns == before
    assert "final.pt: up to date" in log(recipe)
    run(recipe, "--force")
    assert final.stat().st_mtime_ns > before
    assert final.read_bytes() == content


def test_a_finished_model_of_an_older_version_is_kept_with_a_warning(recipe, monkeypatch):
    run(recipe)
    final = recipe / "exp" / "tiny" / "final.pt"
    before = final.stat().st_mtime_ns
    monkeypatch.setattr("asrlib.cli.train.TRAIN_VERSION", TRAIN_VERSION + 1)
    run(recipe)
    assert final.stat().st_mtime_ns == before
    assert f"final.pt: made by version {TRAIN_VERSION} of this stage" in log(recipe)
    run(recipe, "--force")
    assert final.stat().st_mtime_ns > before
    assert log(recipe).count("made by version") == 1


def test_a_finished_model_is_trained_anew_for_no_new_version_of_the_library(recipe, monkeypatch):
    run(recipe)
    before = (recipe / "exp" / "tiny" / "final.pt").stat().st_mtime_ns
    monkeypatch.setattr("asrlib.__version__", "999")
    run(recipe)
    assert (recipe / "exp" / "tiny" / "final.pt").stat().st_mtime_ns == before
    assert "made by version" not in log(recipe)


def test_other_configuration_needs_another_name_or_force(recipe):
    run(recipe)
    final = recipe / "exp" / "tiny" / "final.pt"
    content = final.read_bytes()
    other = ("--set", "train.peak_lr=0.1")
    with pytest.raises(CheckpointError, match=r"train\.peak_lr: 0\.004, now 0\.1"):
        run(recipe, *other)
    config = yaml.safe_load((recipe / "exp" / "tiny" / "config.yaml").read_text())
    assert config["train"]["peak_lr"] == 0.004
    run(recipe, *other, "--name", "fast")
    assert final.read_bytes() == content
    run(recipe, *other, "--force")
    assert final.read_bytes() == (recipe / "exp" / "fast" / "final.pt").read_bytes() != content


def test_what_does_not_touch_the_weights_may_change(recipe):
    run(recipe)
    other = ("--set", "train.log_interval=7", "--set", "train.keep_last=5")
    run(recipe, *other)
    assert "final.pt: up to date" in log(recipe)
    (recipe / "exp" / "tiny" / "final.pt").unlink()
    run(recipe, *other)
    assert "continuing from" in log(recipe)


def test_a_finished_model_may_come_from_another_device_but_not_half_of_one(recipe):
    here = load_configs(Recipe(recipe), "tiny")
    there = replace(here, train=replace(here.train, device="cuda"))
    assert here.of_a_result() == there.of_a_result()
    assert here.identity(recipe / "data") != there.identity(recipe / "data")


def test_run_of_a_version_that_knew_fewer_keys_is_continued(recipe):
    run(recipe)
    path = max((recipe / "exp" / "tiny" / "checkpoints").glob("step-*.pt"))
    content = load(path, "transducer-training")
    del content["facts"]["identity"]["train"]["ema_decay"]
    save(path, "transducer-training", content)
    (recipe / "exp" / "tiny" / "final.pt").unlink()
    run(recipe)
    assert "continuing from" in log(recipe)
    with pytest.raises(CheckpointError, match=r"train\.ema_decay: 0\.0, now 0\.5"):
        run(recipe, "--set", "train.ema_decay=0.5")


def test_changed_data_is_not_continued(recipe):
    run(recipe)
    cmvn = recipe / "data" / "fbank" / "cmvn.json"
    cmvn.write_text(cmvn.read_text().replace("0.5", "0.6"))
    with pytest.raises(CheckpointError, match=r"input\.data/fbank/cmvn\.json"):
        run(recipe)


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("train/cuts_fbank.jsonl.gz", 2),
        ("dev/cuts_fbank.jsonl.gz", 2),
        ("fbank/cmvn.json", 2),
        ("lang/bpe.model", 3),
    ],
)
def test_missing_input(recipe, file, stage):
    (recipe / "data" / file).unlink()
    with pytest.raises(DataError, match=f"{file}: missing") as e:
        run(recipe)
    assert e.value.fix == f"run stage {stage} first"


def test_half_written_manifest(recipe):
    path = recipe / "data" / "train" / "cuts_fbank.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"train/cuts_fbank\.jsonl\.gz: unreadable"):
        run(recipe)


def test_empty_manifest(recipe):
    path = recipe / "data" / "dev" / "cuts_fbank.jsonl.gz"
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match=r"dev/cuts_fbank\.jsonl\.gz: holds no utterance"):
        run(recipe)


def test_manifest_whose_features_are_gone(recipe):
    (recipe / "data" / "fbank" / "train" / "storage").rename(recipe / "elsewhere")
    with pytest.raises(DataError, match="storage: missing, features that") as e:
        run(recipe)
    assert "stage 2" in e.value.fix


@pytest.mark.parametrize("text", ["{", "[]", '{"mean": [1.0]}', '{"mean": "x", "std": [1]}'])
def test_spoilt_statistics(recipe, text):
    (recipe / "data" / "fbank" / "cmvn.json").write_text(text)
    with pytest.raises(DataError, match=r"cmvn\.json: not feature statistics"):
        run(recipe)


def test_statistics_of_other_features(recipe):
    (recipe / "data" / "fbank" / "cmvn.json").write_text('{"mean": [1.0], "std": [1.0]}')
    with pytest.raises(DataError, match="have 1 bins, not 12"):
        run(recipe)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.peak_lrr=1", r"unknown key peak_lrr\n.*peak_lr"),
        ("train.epochs=0", "key epochs"),
        ("train.average=9", "must be kept"),
        ("model.encoder.lstm.layerz=1", r"unknown key encoder\.lstm\.layerz"),
    ],
)
def test_config_typo(recipe, override, message):
    with pytest.raises(ConfigError, match=message):
        run(recipe, "--set", override)


def test_an_earlier_run_is_not_given_up_for_one_that_cannot_begin(recipe):
    run(recipe)
    left = sorted((recipe / "exp" / "tiny").rglob("*.pt"))
    (recipe / "data" / "lang" / "bpe.model").unlink()
    with pytest.raises(DataError, match=r"bpe\.model: missing"):
        run(recipe, "--force")
    assert sorted((recipe / "exp" / "tiny").rglob("*.pt")) == left


def test_unknown_model_lists_the_known(recipe):
    arguments = ["--recipe-dir", str(recipe), "--model", "tinny"]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert isinstance(result.exception, UserError)
    assert "tiny" in result.exception.fix


def test_dev_word_error_rate_is_that_of_streaming_decoding(tmp_path):
    """A model that says nothing deletes every word; one that babbles inserts some."""
    cuts = []
    for i, text in enumerate(["ONE TWO", "THREE", "TWO ONE TWO"]):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, np.random.default_rng(i).normal(0, 0.1, 16000), 16000)
        cut = Recording.from_file(path).to_cut()
        words = SupervisionSegment(cut.id, cut.id, 0.0, 1.0, text=text)
        cut.supervisions.append(words)
        cuts.append(cut)
    model = transducer()
    silent = torch.full_like(model.joiner.output_linear.bias, -1e4)
    silent[0] = 1e4
    figures = dev_wer(CutSet.from_cuts(cuts), 2, tokenizer(), FBANK, DecodeConfig())
    with torch.no_grad():
        model.joiner.output_linear.bias.copy_(silent)
        assert figures(model) == {"wer": 1.0}
        loud = silent.roll(tokenizer().encode("ONE")[0])  # a piece that begins a word
        model.joiner.output_linear.bias.copy_(loud)
        loud_wer = figures(model)["wer"]
        assert loud_wer > 1.0
        reserved = DecodeConfig(greedy=GreedyConfig(max_symbols_per_frame=1))
        figures = dev_wer(CutSet.from_cuts(cuts), 2, tokenizer(), FBANK, reserved)
        assert 1.0 < figures(model)["wer"] < loud_wer


def of_dev(recipe: Path, *overrides: str) -> Configs:
    """The configuration of a training that decodes dev utterances."""
    return load_configs(Recipe(recipe, ("train.dev_wer_utts=2", *overrides)), "tiny")


def test_dev_utterances_are_decoded_as_the_recipe_decodes(recipe, monkeypatch):
    given = []
    monkeypatch.setattr(transducer_build, "dev_wer", lambda *args: given.append(args))
    of_dev(recipe, "decode.search=modified_beam").build_task(recipe / "data", None)
    ((_, count, _, _, decode, membership),) = given
    assert (count, decode.search, membership) == (2, "modified_beam", None)


def test_a_search_that_does_not_suit_is_refused_before_training(recipe):
    predictor = "{name: lstm, embedding_dim: 8, layers: 1, hidden_dim: 8, output_dim: 16}"
    path = recipe / "conf" / "model" / "tiny.yaml"
    values = yaml.safe_load(path.read_text()) | {"predictor": yaml.safe_load(predictor)}
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="fast_beam needs a stateless predictor"):
        of_dev(recipe, "decode.search=fast_beam").build_task(recipe / "data", None)


def test_decoding_belongs_to_a_run_that_decodes_and_to_no_other(recipe):
    data, beam = recipe / "data", "decode.modified_beam.beam=7"
    usual = of_dev(recipe)
    assert usual.identity(data) != of_dev(recipe, "decode.search=modified_beam").identity(data)
    for same in ("chunk_seconds=1.0", "max_streams=1", "num_threads=2", "modified_beam.beam=7"):
        assert usual.identity(data) == of_dev(recipe, f"decode.{same}").identity(data)
    beams = of_dev(recipe, "decode.search=modified_beam")
    wider = of_dev(recipe, "decode.search=modified_beam", beam)
    assert beams.of_a_result() != wider.of_a_result()
    without = load_configs(Recipe(recipe, (beam, "decode.search=modified_beam")), "tiny")
    assert "decode" not in without.sections()


def test_a_run_that_decoded_with_the_defaults_is_continued_with_them_alone(recipe):
    """Before dev utterances were decoded as the recipe says, and models named their task."""
    data = recipe / "data"
    old = of_dev(recipe).identity(data)
    del old["decode"], old["model"]["task"]
    assert differences(of_dev(recipe).upgrade(old), of_dev(recipe).identity(data)) == []
    beams = of_dev(recipe, "decode.search=modified_beam")
    changed = differences(beams.upgrade(old), beams.identity(data))
    assert changed[0] == "decode.search: greedy, now modified_beam"


def test_two_trainings_in_one_directory_are_refused(recipe):
    out = recipe / "exp" / "tiny"
    out.mkdir(parents=True)
    with open(out / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another training is at work there"):
            run(recipe)
    run(recipe)


def test_terminated_process_exits_143_and_goes_on_to_the_same_end(recipe, repo):
    settings = ("epochs=99", "max_steps=120", "valid_interval=20")
    options = [word for setting in settings for word in ("--set", f"train.{setting}")]
    arguments = ["train", "--recipe-dir", str(recipe), "--model", "tiny", "--name", "long"]
    arguments += options
    process = subprocess.Popen([sys.executable, "-m", "asrlib", *arguments], cwd=repo)
    checkpoints = recipe / "exp" / "long" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("step-*.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 143
    assert "stopped by SIGTERM; run the same command to go on" in log(recipe, "long")
    run(recipe, *options, "--name", "long")
    run(recipe, *options, "--name", "whole")
    whole, pieces = (recipe / "exp" / d / "final.pt" for d in ("whole", "long"))
    assert whole.read_bytes() == pieces.read_bytes()


def test_an_encoder_starts_a_model_of_other_tokens(recipe):
    run(recipe)
    (recipe / "data" / "letters").mkdir()
    texts, config = ["TWO THREE ONE"], TokensConfig(model_type="char", vocab_size=15)
    train_tokenizer(texts, config, recipe / "data" / "letters" / "bpe.model")
    start = ("--init", str(recipe / "exp" / "tiny"))
    letters = ("--name", "letters", "--set", "data.lang=letters", *start)
    with pytest.raises(CheckpointError, match="other tokens"):
        run(recipe, *letters)
    run(recipe, *letters, "--set", "train.init_part=encoder")
    assert "its encoder with the feature statistics" in log(recipe, "letters")
    record = read_record(recipe / "exp" / "letters")
    assert set(record.data) == {"train", "dev", "letters/bpe.model"}
    found = load_transducer(recipe / "exp" / "letters" / "final.pt")
    assert found.model.vocab_size == found.tokenizer.vocab_size != tokenizer().vocab_size


def test_a_part_of_no_start_is_refused(recipe):
    with pytest.raises(ConfigError, match=r"train\.init_part: encoder, but no model is given"):
        run(recipe, "--set", "train.init_part=encoder")


def test_tokens_elsewhere_are_refused(recipe):
    with pytest.raises(ConfigError, match=r"data\.lang"):
        run(recipe, "--set", "data.lang=../lang")

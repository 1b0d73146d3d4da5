"""Stage 2 as a command: what it leaves, what it skips, what it says when it fails."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from lhotse import CutSet
from speech_fakes import make_cuts

import asrlib.cli.fbank as module
from asrlib.__main__ import cli
from asrlib.data.noise import load_noise, make_noise_cuts
from asrlib.errors import ConfigError, DataError, UserError


@pytest.fixture
def recipe(tmp_path):
    for name, number in (("train", 3), ("dev", 2)):
        folder = tmp_path / "data" / name
        make_cuts(folder / "wav", number).to_file(folder / "cuts.jsonl.gz")
    return tmp_path


def fbank(recipe, *args):
    command = ["fbank", "--recipe-dir", str(recipe), "--nj", "1", *args]
    return CliRunner().invoke(cli, command, catch_exceptions=False)


def in_process(function, shards, **_):
    return [function(shard) for shard in shards]


def outputs(recipe):
    return {p: p.stat().st_mtime_ns for p in (recipe / "data").rglob("*") if p.suffix != ".log"}


def messages(recipe):
    return (recipe / "data" / "log" / "fbank.log").read_text()


def test_leaves_features_statistics_and_stamps(recipe, monkeypatch):
    assert fbank(recipe).exit_code == 0
    stored = {
        name: CutSet.from_file(recipe / "data" / name / "cuts_fbank.jsonl.gz").to_eager()
        for name in ("train", "dev")
    }
    assert len(stored["train"]) == 9
    assert len(stored["dev"]) == 2
    frames_TF = np.concatenate([cut.load_features() for cut in stored["train"]])
    stats = json.loads((recipe / "data" / "fbank" / "cmvn.json").read_text())
    assert stats["frames"] == len(frames_TF)
    np.testing.assert_allclose(stats["mean"], frames_TF.mean(axis=0), atol=2e-3)
    assert len(list((recipe / "data" / "log").glob("fbank.*.log"))) == 2

    monkeypatch.setattr(module, "run_array", in_process)  # jobs take seconds to start
    before = outputs(recipe)
    fbank(recipe)
    assert outputs(recipe) == before
    assert "fbank: up to date" in messages(recipe)

    fbank(recipe, "--set", "augment.speeds=[1.0]")  # concerns the train set alone
    after = outputs(recipe)
    dev = [p for p in before if "dev" in p.parts and p.is_file()]
    assert dev
    assert all(before[p] == after[p] for p in dev)
    assert len(CutSet.from_file(recipe / "data/train/cuts_fbank.jsonl.gz").to_eager()) == 3


def test_noise_is_made_when_wanted(recipe, monkeypatch):
    monkeypatch.setattr(
        module, "make_noise_cuts", lambda out, rate: make_noise_cuts(out, rate, per_kind=1)
    )
    monkeypatch.setattr(module, "run_array", in_process)
    fbank(recipe, "--set", "augment.noise_probability=0.5", "--set", "augment.speeds=[1.0]")
    noise = load_noise(recipe / "data")
    assert len(noise) == 5
    assert all(cut.num_frames == 2000 for cut in noise)


def test_a_vanished_file_is_named_with_the_log(recipe):
    gone = recipe / "data" / "dev" / "wav" / "u001.wav"
    gone.unlink()
    with pytest.raises(UserError, match=r"u001\.wav.*\n?.*log: .*fbank\.1\.log"):
        fbank(recipe)
    assert not (recipe / "data" / "dev" / "cuts_fbank.jsonl.gz").exists()


def test_no_manifests(tmp_path):
    with pytest.raises(DataError, match="run stage 1"):
        fbank(tmp_path)


def test_bad_engine_option(recipe):
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        fbank(recipe, "--engine-option", "mem")

"""Stage 7 in small, on real speech: from utterances to mixtures, models, turns and scores."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from command_fakes import call, explained, invoke

from asrlib.checkpoint_file import load
from asrlib.data.raw import RawUtterance, write_raw
from asrlib.transducer.model_io import KIND

pytestmark = pytest.mark.realdata

# Speakers of AN4's test set, men and women in each.
SETS = {
    "train": ("fcaw", "marh", "mdms2", "menk"),
    "dev": ("fjlp", "miry"),
    "test": ("fvap", "mjgm", "mjwl"),
}
SECTIONS = {
    "tokens": {"vocab_size": 32},
    "augment": {"speeds": [1.0], "noise_probability": 0.0},
    "data": {"num_buckets": 1},
    "mixtures": {"per_condition": 1, "conditions": ["0S", "OV30"], "per_epoch": 4, "rooms": 2}
    | {"train": {"peak_lr": 0.003, "max_steps": 3}},
    "train": {"max_steps": 2, "num_workers": 0},
    "model/sts": {
        "encoder": {"input_dim": 0, "module_dim": 16, "output_dim": 16}
        | {"lstm": {"layers": 1, "hidden_dim": 16}},
        "predictor": {"output_dim": 16},
        "joiner_dim": 16,
    },
}


def utterances(corpus: Path, speakers: tuple[str, ...]) -> Iterator[RawUtterance]:
    """Their commands: letters and digits, never personal data."""
    for line in (corpus / "etc/an4_test.transcription").read_text().splitlines():
        text, name = re.fullmatch(r"(.*?)\s*\((\S+)\)", line).groups()
        speaker = name.split("-")[1]
        if name.startswith("an") and speaker in speakers:
            audio = corpus / "wav/an4test_clstk" / speaker / f"{name}.flac"
            yield RawUtterance(id=name, audio=str(audio), text=text, speaker=speaker)


@pytest.fixture(scope="module")
def recipe(shared_data, tmp_path_factory) -> Path:
    """Prepared up to the single-channel path, trained for two steps."""
    folder = tmp_path_factory.mktemp("house") / "egs/small"
    rows = {name: list(utterances(shared_data / "an4", who)) for name, who in SETS.items()}
    write_raw(folder / "data/raw", rows)
    (folder / "conf/model").mkdir(parents=True)
    for name, values in SECTIONS.items():
        (folder / f"conf/{name}.yaml").write_text(yaml.safe_dump(values))
    for stage in (["manifests"], ["fbank", "--nj", "1"], ["tokens"], ["mixtures"]):
        assert invoke(*stage, "--recipe-dir", folder).exit_code == 0
    assert train(folder, "sts/single").exit_code == 0
    return folder


def train(recipe: Path, model: str, *options: object):
    name = model.replace("/", "_")
    return invoke("train", "--recipe-dir", recipe, "--model", model, "--name", name, *options)


@pytest.mark.parametrize("model", ["sts", "mt_rnnt", "sts/penalty"])
def test_from_mixtures_to_scores(recipe, model, tmp_path):
    """Training starts from the single-channel path; meeteval scores what is left alike."""
    name = model.replace("/", "_")
    assert train(recipe, model, "--init", recipe / "exp/sts_single").exit_code == 0
    options = ("--recipe-dir", recipe, "--name", name, "--test-set", "mix_test")
    assert invoke("decode", *options).exit_code == 0
    assert invoke("score-meetings", *options, "--set", "score.replicates=100").exit_code == 0
    left = recipe / f"exp/{name}/decode_mix_test_greedy"
    total = json.loads((left / "meetings.json").read_text())["all"]
    assert total["sessions"] == 2
    assert len(list((left / "timelines").glob("*.svg"))) == 2
    out = tmp_path / "out.json"
    subprocess.run(
        [
            *(Path(sys.executable).parent / "meeteval-wer", "orcwer"),
            *("-r", recipe / "data/mix_test/truth.stm", "-h", left / "channels.seglst.json"),
            *("--average-out", out, "--per-reco-out", tmp_path / "each.json"),
        ],
        check=True,
        capture_output=True,
    )
    theirs = json.loads(out.read_text())
    assert (theirs["errors"], theirs["length"]) == (
        total["orcwer"]["errors"],
        total["orcwer"]["words"],
    )
    assert invoke("results", "--recipe-dir", recipe).exit_code == 0
    page = html.unescape((recipe / "exp" / "report.html").read_text())
    assert f'<td class="text">{name}</td>' in page
    trained = "python -m asrlib train --recipe-dir egs/small"
    assert f"{trained} --model {model} --name {name} --init " in page


def test_a_single_talker_model_on_the_same_mixtures(recipe):
    options = ("--recipe-dir", recipe, "--name", "sts_single", "--test-set", "mix_test")
    assert invoke("decode", *options).exit_code == 0
    assert invoke("score-meetings", *options, "--set", "score.replicates=100").exit_code == 0
    left = recipe / "exp/sts_single/decode_mix_test_greedy"
    assert json.loads((left / "meetings.json").read_text())["all"]["sessions"] == 2


def test_a_long_meeting_is_measured(recipe, alone):
    options = ("bench", "meeting", "--recipe-dir", recipe, "--minutes", "0.2", "--name")
    threads = torch.get_num_threads()
    try:
        assert invoke(*options, "alone").exit_code == 0
        assert explained(call(*options, "sts_single"), "of a single talker")
    finally:
        torch.set_num_threads(threads)
    figures = json.loads((recipe / "exp/bench/meeting_alone.json").read_text())
    assert figures["meeting_minutes"] == pytest.approx(0.2, abs=0.01)
    assert figures["command"].endswith("--name alone --test-set mix_test --minutes 0.2")


def test_mixtures_have_training_settings_of_their_own(recipe, alone):
    """Over those of conf/train.yaml, and under those of --set; and only on mixtures."""
    settings = {
        name: yaml.safe_load((recipe / f"exp/{name}/config.yaml").read_text())
        for name in ("sts_single", "alone")
    }
    assert [s["train"]["max_steps"] for s in settings.values()] == [2, 3]
    assert settings["alone"]["train"]["peak_lr"] == 0.003
    assert settings["alone"]["mixtures"]["train"] == {}
    options = ("--model", "sts", "--name", "alone", "--set", "train.peak_lr=0.002")
    outcome = call("train", "--recipe-dir", recipe, *options)
    assert explained(outcome, "train.peak_lr: 0.003, now 0.002")
    wrong = ("--model", "sts", "--name", "x", "--set", "mixtures.train.peak_lrr=1")
    assert explained(call("train", "--recipe-dir", recipe, *wrong), "mixtures.train", "peak_lrr")
    assert invoke("mixtures", "--recipe-dir", recipe, "--set", "mixtures.train={}").exit_code == 0
    assert "up to date" in (recipe / "data/log/mixtures.log").read_text()


@pytest.fixture(scope="module")
def alone(recipe) -> Path:
    """A model of two talkers that started from nothing."""
    assert (
        invoke(*("train", "--recipe-dir", recipe, "--model", "sts", "--name", "alone")).exit_code
        == 0
    )
    return recipe / "exp/alone"


def test_another_start_is_another_training(recipe, alone):
    """The start counts among what decides the weights: none is continued from another."""
    content = load(alone / "final.pt", KIND)
    assert "init" not in content["facts"]["identity"]["input"]
    model = ("train", "--recipe-dir", recipe, "--model", "sts", "--name", "alone")
    outcome = call(*model, "--init", recipe / "exp/sts_single")
    assert explained(outcome, "was trained with other settings", "input.init")


def test_what_training_cannot_start_from_is_named(recipe):
    options = ("--model", "sts", "--name", "new", "--init", recipe / "exp/nothing")
    assert explained(call("train", "--recipe-dir", recipe, *options), "exp/nothing")


def test_mixtures_come_before_training(recipe, tmp_path):
    made = recipe / "data/mix_dev"
    made.rename(tmp_path / "away")
    try:
        options = ("--model", "sts", "--name", "early")
        assert explained(call("train", "--recipe-dir", recipe, *options), "mix_dev")
    finally:
        (tmp_path / "away").rename(made)


@pytest.mark.timeout(900)
def test_penalties_on_late_ends_are_swept(recipe, repo):
    """steps/sweep_eot.sh, in a house whose recipe this is."""
    house = recipe.parent.parent
    for entry in repo.iterdir():
        if entry.name not in ("egs", ".git"):
            (house / entry.name).symlink_to(entry)
    assert train(recipe, "sts", "--init", recipe / "exp/sts_single").exit_code == 0
    (recipe / "conf/plans").mkdir()
    overlay = {
        "set": {"train.max_steps": 3, "train.warmup_steps": 1, "score.replicates": 100},
        "factors": {"model.loss.eot_penalty": [0.0, 0.5]},
    }
    (recipe / "conf/plans/eot.yaml").write_text(yaml.safe_dump(overlay))
    command = ["steps/sweep_eot.sh", "--recipe", "small"]
    done = subprocess.run(command, cwd=house, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "eot-start" not in done.stdout  # exp/sts is what the plan starts from
    page = (recipe / "results/eot/README.md").read_text()
    assert "sts, model.loss.eot_penalty=0.5" in page
    without, late = (
        load(recipe / f"exp/eot-sts-eot_penalty{alpha}/final.pt", KIND) for alpha in (0.0, 0.5)
    )
    assert late["payload"]["config"]["loss"]["eot_penalty"] == 0.5
    assert without["facts"]["steps"] == late["facts"]["steps"] == 3
    weights = (model["model"]["joiner.output_linear.weight"] for model in (without, late))
    assert not torch.equal(*weights)

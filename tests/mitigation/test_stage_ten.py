"""Stages 10 and 11: a plan from a finished model, for the cohorts of one method, and its table."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from command_fakes import call, explained
from lhotse import CutSet
from plan_fakes import here, prepare, write_plan

from asrlib.data.membership import memberships
from asrlib.experiments.mitigations import _general_control
from asrlib.experiments.plan_file import _with_start, load_plan
from asrlib.mitigation.table import Mitigations
from asrlib.recipe import Recipe
from asrlib.streaming.recognizer import StreamingRecognizer
from asrlib.streaming.settings import DecodeConfig

ADAPT = "mitigation.adaptation"
TUNE = {f"{ADAPT}.method": "finetune"}
PLAN = {
    "title": "Mitigations",
    "set": {"mitigation.cohorts.sets": ["discovery"], "mitigation.cohorts.choose": 0.0},
    "variants": [
        {
            "name": "general",
            "model": "lstm",
            "kind": "control",
            "set": {**TUNE, f"{ADAPT}.speech": "general"},
        },
        {"name": "finetune", "model": "lstm", "kind": "adapt", "set": TUNE, "shares": [0.5]},
        {
            "name": "membership",
            "model": "lstm",
            "kind": "train",
            "set": {**TUNE, f"{ADAPT}.speech": "oversampled", "model.encoder.condition": 2},
            "true_cohorts": True,
            "found_cohorts": True,
        },
    ],
    "factors": {"train.seed": [1]},
    "start": {"model": "lstm"},
    "test_sets": ["confirmation"],
}
PEOPLE = {"train": 4, "dev": 1, "discovery": 4, "confirmation": 6}
GIVEN = ("--start", "tiny", "--cohorts", "scan")


def write_cohorts(recipe: Path, prefix: str = "") -> None:
    """Every other speaker is at the bottom, the others at the top; of train without a half."""
    path = recipe / "exp" / "cohorts" / "scan" / "cohorts.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {"speaker": f"{prefix}{name}-s{i}", "cohort": ("bottom", "top")[i % 2], "method": "scan"}
        | ({"split": name} if name != "train" else {})
        for name, count in PEOPLE.items()
        if name != "dev"
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Path:
    """A recipe with a trained model and cohorts."""
    recipe = prepare(tmp_path_factory.mktemp("egs") / "small", PEOPLE, own_speakers=True)
    assert call("train", "--model", "tiny", "--recipe-dir", recipe).code == 0
    write_cohorts(recipe)
    cuts = CutSet.from_file(recipe / "data" / "confirmation" / "cuts.jsonl.gz")
    lines = [{"utterance": cut.id, "cohort": "bottom", "split": "confirmation"} for cut in cuts]
    heard = recipe / "exp" / "cohorts" / "scan" / "by_utterance" / "cohorts.jsonl"
    heard.parent.mkdir()
    heard.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_plan(recipe, "fair", PLAN)
    return recipe


@pytest.fixture
def recipe(started, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("asrlib.experiments.run_plan.run_each", here)
    return Path(shutil.copytree(started, tmp_path / "egs" / "small"))


def run(recipe: Path, *words: str):
    return call("plan", "fair", "--recipe-dir", recipe, *GIVEN, *words)


def judge(recipe: Path, *words: object):
    return call("judge-mitigations", "--plan", "fair", "--recipe-dir", recipe, *GIVEN, *words)


def memberships_differ(folder: Path) -> None:
    """The decodes without, with true and with found cohorts are of three different inputs."""
    metas = [
        json.loads((folder / f"decode_confirmation_greedy{told}" / "meta.json").read_text())
        for told in ("", "_true_cohorts", "_found_cohorts")
    ]
    told = [(meta.get("membership"), Path(meta.get("cohorts", "")).name) for meta in metas]
    assert told == [(None, ""), ("true", "scan"), ("found", "by_utterance")]
    encoder = StreamingRecognizer.from_checkpoint(folder / "final.pt", DecodeConfig()).model.encoder
    frames_BTF = torch.randn(1, 40, 80, generator=torch.Generator().manual_seed(1))
    heard = []
    for cohort in (None, "bottom", "top"):
        with torch.inference_mode():
            lengths_B = torch.tensor([frames_BTF.shape[1]])
            heard.append(encoder(frames_BTF, lengths_B, memberships([cohort]))[0])
    pairs = itertools.combinations(heard, 2)
    assert all(not torch.equal(one, other) for one, other in pairs)


def test_rows_continue_from_the_model_and_their_table_reproduces_from_files(recipe):
    done = run(recipe)
    assert done.code == 0, done
    assert not (recipe / "results").exists()
    assert "nothing to do" in run(recipe, "--dry-run").out
    assert judge(recipe).code == 0
    path = recipe / "exp" / "fairness" / "mitigations.json"
    found = Mitigations.from_file(path, "")
    labels = ["start", "general", "finetune", "membership"]
    labels += [f"membership, {told} cohorts" for told in ("true", "found")]
    assert [row.label for row in found.rows] == labels
    assert [row.seeds[0].run for row in found.rows[:3]] == [
        "tiny",
        "tiny-scan-general-seed1",
        "tiny-scan-finetune-seed1",
    ]
    assert {row.rates.overall.speakers for row in found.rows} == {6}
    assert (found.start, found.control, found.method) == ("start", "general", "scan")
    assert [point.share for point in found.curve] == [0.0, 0.5, 1.0]
    assert found.curve[0].rates == found.rows[0].rates
    assert [row.membership for row in found.rows[3:]] == [None, "true", "found"]
    memberships_differ(recipe / "exp" / "tiny-scan-membership-seed1")
    assert found.rows[2].settings == TUNE
    words = "--recipe-dir egs/small --start tiny --cohorts scan"
    assert found.commands == (
        f"python -m asrlib plan fair {words}",
        f"python -m asrlib judge-mitigations --plan fair {words}",
    )
    # Only counts are read: the table is the same without any model.
    first = path.read_bytes()
    path.unlink()
    shutil.rmtree(recipe / "exp" / "tiny-scan-finetune-seed1" / "checkpoints")
    assert judge(recipe).code == 0
    assert path.read_bytes() == first
    shutil.rmtree(
        recipe / "exp" / "tiny-scan-finetune-seed1-share0.5" / "decode_confirmation_greedy"
    )
    assert judge(recipe).code == 0
    found = Mitigations.from_file(path, "")
    assert (len(found.rows), found.curve) == (len(labels), ())
    assert any(note.startswith("The interpolation between") for note in found.notes)


def test_the_control_is_the_row_on_general_data():
    controls = []
    for only in ("[general,random,oversampling]", "[random,oversampling]"):
        recipe = Recipe(Path("egs/mini"), (f"plans.only={only}",))
        controls.append(_general_control(load_plan(recipe, "mitigation_full")))
    assert controls == ["general", None]


def test_a_row_may_name_files_of_its_start():
    settings = {"mitigation.cohorts.labels": "exp/{start}/decode_discovery_greedy", "a.b": 2.0}
    named = {"mitigation.cohorts.labels": "exp/tiny/decode_discovery_greedy", "a.b": 2.0}
    assert _with_start(settings, "tiny") == named


def test_a_row_that_was_not_run_becomes_a_note(recipe):
    assert run(recipe, "--set", "plans.only=[general]").code == 0
    assert judge(recipe, "--out", recipe / "table.json").code == 0
    found = Mitigations.from_file(recipe / "table.json", "")
    assert [row.label for row in found.rows] == ["start", "general"]
    assert any(note.startswith("finetune: not judged") for note in found.notes)


def test_what_does_not_exist_is_named(recipe):
    assert explained(run(recipe, "--set", "plans.only=[finetun]"), "no row finetun", "finetune")
    none = ("--recipe-dir", recipe, "--start", "nobody", "--cohorts", "scan")
    assert explained(call("plan", "fair", *none), "nobody/final.pt: missing")
    none = ("--recipe-dir", recipe, "--start", "tiny", "--cohorts", "nowhere")
    assert explained(call("plan", "fair", *none), "nowhere/cohorts.jsonl: missing")
    assert explained(
        call("plan", "fair", "--recipe-dir", recipe, "--start", "tiny"), "--cohorts is missing"
    )


def test_cohorts_of_another_corpus_are_refused(recipe):
    write_cohorts(recipe, prefix="other-")
    assert explained(run(recipe), "cohorts of another corpus")
    assert explained(judge(recipe), "cohorts of another corpus")


def test_a_bottom_cohort_without_speech_is_told_by_each_row_that_needs_it(recipe):
    done = run(
        recipe, "--set", "mitigation.cohorts.cohort=middle", "--set", "plans.only=[finetune]"
    )
    assert done.code == 1
    log = recipe / "exp" / "plans" / "tiny-scan" / "log" / "tiny-scan-finetune-seed1.log"
    assert "has no speaker" in log.read_text()
    assert "choose another cohort" in log.read_text()
    assert judge(recipe, "--set", "plans.only=[finetune]").code == 0
    found = Mitigations.from_file(recipe / "exp" / "fairness" / "mitigations.json", "")
    (note,) = (n for n in found.notes if n.startswith("finetune: not judged"))
    assert "failed in stage 10" in note
    assert "has no speaker" in note

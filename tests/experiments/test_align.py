"""`asrlib align`: files of words with times, and errors that name the utterance."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click.testing
import pytest
import small_transducer
import soundfile
import torch
from lhotse import CutSet, Recording, SupervisionSegment

from asrlib.checkpoint_file import save
from asrlib.cli.align import command
from asrlib.data.cuts import read_cuts
from asrlib.errors import CheckpointError, ConfigError, DataError
from asrlib.streaming.batch import spoken_words
from asrlib.transducer.model_io import KIND, transducer_payload

TEXTS = {"a": "ONE TWO", "b": "THREE ONE", "c": "TWO"}


def write_recipe(folder: Path, texts: dict[str, str], ctc_scale: float = 0.2) -> Path:
    cuts = []
    for i, (name, text) in enumerate(texts.items()):
        samples_N = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(i))
        soundfile.write(folder / f"{name}.wav", samples_N.numpy(), 16000)
        cut = Recording.from_file(folder / f"{name}.wav", recording_id=name).to_cut()
        custom = {"private": True} if name == "b" else None
        said = SupervisionSegment(name, name, 0.0, 1.0, text=text, speaker="s", custom=custom)
        cut.supervisions = [said]
        cuts.append(cut)
    (folder / "data/test").mkdir(parents=True)
    CutSet.from_cuts(cuts).to_file(folder / "data/test/cuts.jsonl.gz")
    loss = dataclasses.replace(small_transducer.CONFIG.loss, ctc_scale=ctc_scale)
    model = small_transducer.transducer(dataclasses.replace(small_transducer.CONFIG, loss=loss))
    payload = transducer_payload(model, small_transducer.tokenizer(), small_transducer.FBANK)
    save(
        folder / "exp/m/final.pt",
        KIND,
        {"model": model.state_dict(), "payload": payload, "facts": {}},
    )
    return folder


def run(recipe: Path, *args: str) -> click.testing.Result:
    words = ["--recipe-dir", str(recipe), "--name", "m", *args]
    return click.testing.CliRunner().invoke(command, words)


def test_files_hold_all_words_but_private_ones(tmp_path):
    recipe = write_recipe(tmp_path, TEXTS)
    assert run(recipe, "--as-set", "aligned").exit_code == 0
    lines = [
        line.split() for line in (recipe / "exp/m/align_test/words.ctm").read_text().splitlines()
    ]
    assert [(line[0], line[-1]) for line in lines] == [
        *(("a", "ONE"), ("a", "TWO"), ("b", "***"), ("b", "***"), ("c", "TWO"))
    ]
    assert all(0 <= float(line[2]) < float(line[2]) + float(line[3]) <= 1.0 for line in lines)
    grid = (recipe / "exp/m/align_test/textgrid/b.TextGrid").read_text()
    assert "***" in grid
    assert "THREE" not in grid
    cuts = read_cuts(recipe / "data/aligned/cuts.jsonl.gz", "")
    assert [[w.word for w in spoken_words(cut)] for cut in cuts] == [
        text.split() for text in TEXTS.values()
    ]
    assert spoken_words(cuts["a"])[0].start == pytest.approx(float(lines[0][2]), abs=1e-3)


def test_lag_is_taken_off(tmp_path):
    recipe = write_recipe(tmp_path, {"a": "ONE TWO"})
    ends = []
    for lag in ("0", "40"):
        assert run(recipe, "--lag-ms", lag).exit_code == 0
        line = (recipe / "exp/m/align_test/words.ctm").read_text().splitlines()[0].split()
        ends.append(float(line[2]) + float(line[3]))
    assert ends[0] - ends[1] == pytest.approx(0.04, abs=2e-3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its transcript is empty"),
        ("ONE " * 40, "needs"),
        ("ÑANDÚ", "characters without a piece"),
    ],
)
def test_an_utterance_that_cannot_be_aligned_is_named(tmp_path, text, reason):
    recipe = write_recipe(tmp_path, {"a": "ONE", "bad": text.strip()})
    result = run(recipe)
    assert result.exit_code == 1
    assert "cut bad" in result.output
    assert reason in result.output
    assert (recipe / "exp/m/align_test/words.ctm").read_text().split()[0] == "a"


def test_a_set_without_any_alignment_is_an_error(tmp_path):
    result = run(write_recipe(tmp_path, {"a": ""}))
    assert isinstance(result.exception, DataError)


def test_a_model_without_ctc_layer_is_refused(tmp_path):
    result = run(write_recipe(tmp_path, TEXTS, ctc_scale=0.0))
    assert isinstance(result.exception, CheckpointError)
    assert "no CTC layer" in str(result.exception)


@pytest.mark.parametrize("name", ["test_aligned", "test"])
def test_another_set_is_not_overwritten(tmp_path, name):
    result = run(write_recipe(tmp_path, TEXTS), "--as-set", name)
    assert isinstance(result.exception, ConfigError)

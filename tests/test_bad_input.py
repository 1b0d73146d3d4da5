"""Bad input, from the command line to the message: a clear error or a right result.

Every error names the file or key, the reason and the fix, is no traceback, and leaves nothing
half-written under its final name. Options of run.sh are tested in test_run_sh.py.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import torch
import yaml
from command_fakes import (
    STAGES,
    Outcome,
    call,
    empty,
    explained,
    full_disk,
    garble,
    halve,
    in_process,
    sound,
    write_recipe,
)

import asrlib.cli.fbank
import asrlib.training.checkpoint as checkpoints
from asrlib.transducer.model_io import KIND


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A recipe directory with all that stages 1 to 6 leave, of a model that has learnt nothing."""
    directory = tmp_path_factory.mktemp("whole")
    write_recipe(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asrlib.cli.fbank, "run_array", in_process)
        for stage in STAGES.values():
            done = call(*stage, "--recipe-dir", directory)
            assert done.code == 0, done.err
    return directory


@pytest.fixture(autouse=True)
def _jobs(monkeypatch) -> None:
    monkeypatch.setattr(asrlib.cli.fbank, "run_array", in_process)


@pytest.fixture
def recipe(whole, tmp_path) -> Path:
    """A copy to spoil."""
    directory = tmp_path / "recipe"
    shutil.copytree(whole, directory)
    return directory


def run(stage: str, recipe: Path, *options: object) -> Outcome:
    return call(*STAGES[stage], "--recipe-dir", recipe, *options)


@pytest.mark.parametrize("damage", [halve, empty, garble, Path.unlink])
@pytest.mark.parametrize(
    ("stage", "file", "again"),
    [
        ("fbank", "test/cuts.jsonl.gz", "stage 1"),
        ("tokens", "train/cuts.jsonl.gz", "stage 1"),
        ("train", "train/cuts_fbank.jsonl.gz", "stage 2"),
        ("train", "dev/cuts_fbank.jsonl.gz", "stage 2"),
        ("decode", "test/cuts.jsonl.gz", "stage 1"),
    ],
)
def test_half_made_manifest(recipe, stage, file, again, damage):
    path = recipe / "data" / file
    damage(path)
    if (stage, damage) == ("fbank", Path.unlink):
        return  # then there is no such set
    told = run(stage, recipe)
    assert explained(told, path)
    assert again in told.err or "quarantine.tsv" in told.err


@pytest.mark.parametrize(
    ("stage", "file", "again"),
    [
        ("manifests", "data/raw/train.jsonl", "local step"),
        ("train", "data/fbank/cmvn.json", "stage 2"),
        ("score", "exp/tiny/decode_test_greedy/hyp.jsonl", "decode again"),
        ("score", "exp/tiny/decode_test_greedy/meta.json", "decode stage (5)"),
    ],
)
def test_half_written_file_of_an_earlier_stage(recipe, stage, file, again):
    halve(recipe / file)
    assert explained(run(stage, recipe), recipe / file, again)


@pytest.mark.parametrize("damage", [halve, empty, lambda path: path.write_text("{}")])
def test_broken_scores_are_a_line_of_the_page(recipe, damage):
    damage(recipe / "exp" / "tiny" / "decode_test_greedy" / "scores.json")
    assert run("results", recipe).code == 0
    page = (recipe / "exp" / "report.html").read_text()
    assert "`exp/tiny/decode_test_greedy`" in page
    assert "scores.json: " in page
    assert explained(run("publish", recipe), "no run that can be published")


def test_tables_that_are_no_text(recipe):
    path = recipe / "data" / "speakers.tsv"
    path.write_bytes(b"\xff\xfe\n")
    assert explained(run("score", recipe), path)
    path = recipe / "exp" / "tiny" / "decode_test_greedy" / "hyp.jsonl"
    path.write_bytes(b"\xff" + path.read_bytes())
    assert explained(run("score", recipe), path, "line 1")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def age(path: Path) -> None:
    box = torch.load(path)
    torch.save({**box, "format": 0}, path)


def disguise(path: Path) -> None:
    torch.save({"model": torch.zeros(3)}, path)


def without(*keys: str):
    def change(path: Path) -> None:
        content = inner = checkpoints.load(path, KIND)
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        checkpoints.save(path, KIND, content)

    return change


def spoil_tokens(path: Path) -> None:
    content = checkpoints.load(path, KIND)
    content["payload"]["tokenizer"] = b"no tokens"
    checkpoints.save(path, KIND, content)


def rename_key(path: Path) -> None:
    content = checkpoints.load(path, KIND)
    content["payload"]["config"]["joint_dim"] = content["payload"]["config"].pop("joiner_dim")
    checkpoints.save(path, KIND, content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (halve, "corrupt checkpoint"),
        (empty, "corrupt checkpoint"),
        (flip, "corrupt checkpoint: checksum"),
        (age, "format 0 is older than 1"),
        (disguise, "not a checkpoint of this library"),
        (rename_key, "unknown key joint_dim"),
        (without("payload"), "payload"),
        (without("payload", "fbank"), "fbank"),
        (without("facts"), "facts"),
        (spoil_tokens, "not a sentencepiece model"),
    ],
)
def test_corrupt_or_old_checkpoint(recipe, damage, reason):
    model = recipe / "exp" / "tiny" / "final.pt"
    hyp = recipe / "exp" / "tiny" / "decode_test_greedy" / "hyp.jsonl"
    before = hyp.read_bytes()
    damage(model)
    audio = recipe / "wav" / "test-0.wav"
    assert explained(call("transcribe", "--model", model.parent, audio), model, reason)
    assert explained(run("decode", recipe), model, reason)
    assert hyp.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "reason"), [(halve, "corrupt"), (flip, "checksum"), (age, "older than 1")]
)
def test_corrupt_or_old_checkpoint_to_continue_from(recipe, damage, reason):
    """None is left that is whole: no fresh start over what somebody may still rescue."""
    model = recipe / "exp" / "tiny"
    (model / "final.pt").unlink()
    steps = list((model / "checkpoints").glob("step-*.pt"))
    for path in steps:
        damage(path)
    before = [path.read_bytes() for path in steps]
    assert explained(run("train", recipe), model / "checkpoints")
    assert reason in (model / "log" / "train.log").read_text()
    assert [path.read_bytes() for path in steps] == before
    assert not (model / "final.pt").exists()


def test_checkpoint_to_continue_from_is_no_model(recipe):
    step = next((recipe / "exp" / "tiny" / "checkpoints").glob("step-*.pt"))
    audio = recipe / "wav" / "test-0.wav"
    assert explained(call("transcribe", "--model", step, audio), step, "transducer-training")


@pytest.mark.parametrize(
    ("stage", "section", "typo", "nearest"),
    [
        ("manifests", "manifests", "eror_budget: 1", "error_budget"),
        ("fbank", "features", "num_bin: 80", "num_bins"),
        ("tokens", "tokens", "vocab_sise: 30", "vocab_size"),
        ("train", "train", "peek_lr: 1", "peak_lr"),
        ("train", "model/tiny", "encoder: {lstm: {layerz: 2}}", "layers"),
        ("decode", "decode", "chunk_second: 1", "chunk_seconds"),
        ("score", "score", "replicate: 3", "replicates"),
    ],
)
def test_config_typo(recipe, stage, section, typo, nearest):
    path = recipe / "conf" / f"{section}.yaml"
    values = yaml.safe_load(path.read_text()) if path.exists() else {}
    key = typo.partition(":")[0]
    given = yaml.safe_load(typo)
    if isinstance(given[key], dict):
        values[key]["lstm"] |= given[key]["lstm"]
    else:
        values |= given
    path.write_text(yaml.safe_dump(values))
    assert explained(run(stage, recipe), path, "unknown key", f"did you mean {nearest}?")


def test_misnamed_config_file(recipe):
    path = recipe / "conf" / "trian.yaml"
    path.write_text("epochs: 1\n")
    assert explained(run("train", recipe), path, "no section trian", "did you mean train.yaml?")
    path.rename(recipe / "conf" / "corpus.yaml")  # a section that only the recipe knows
    assert run("tokens", recipe).code == 0


@pytest.mark.parametrize("command", ["check", "tokens", "results"])
def test_a_key_of_a_section_that_the_command_does_not_read_is_checked(recipe, command):
    (recipe / "conf" / "own.yaml").write_text("one: 1\n")
    (recipe / "conf" / "run.conf").write_text("")
    (recipe / "conf" / "train.yaml").write_text("epoch: 1\n")  # no key because a file has it

    def told(override: str) -> Outcome:
        return call(command, "--recipe-dir", recipe, "--set", override)

    assert explained(told("train.epoch=2"), "--set train.epoch=2", "unknown key epoch", "epochs?")
    assert explained(told("run.x=2"), "--set run.x=2", "no section run")
    if command == "check":
        for override in ("own.other=1", "model.any=1", "decode.lm.path=a", "plans.x=1"):
            assert told(override) == (0, "", "")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("trian.epochs=1", "did you mean train?"),
        ("train.epoch=1", "did you mean epochs?"),
        ("train.epochs=few", "key epochs: input should be a valid integer, not 'few'"),
        ("model.encoder.lstm.layerz=1", "did you mean layers?"),
        ("epochs=1", "does not have the form section.key=value"),
    ],
)
def test_override_typo(recipe, override, named):
    assert explained(run("train", recipe, "--set", override), f"--set {override}", named)


def test_transcribe_refuses_what_it_would_not_heed(recipe):
    options = ("--model", recipe / "exp" / "tiny", "--set", "train.epochs=1")
    told = call("transcribe", *options, recipe / "wav" / "test-0.wav")
    assert explained(told, "--set train.epochs=1", "decode")


@pytest.mark.parametrize(
    ("stage", "size", "outputs"),
    [
        ("manifests", 300, "data/train/cuts.jsonl.gz"),
        ("fbank", 5000, "data/train/cuts_fbank.jsonl.gz data/fbank/train/*.f16"),
        ("tokens", 300, "data/lang/bpe.model"),
        ("train", 60, "exp/tiny/config.yaml"),
        ("train", 40_000, "exp/tiny/checkpoints/*.pt exp/tiny/final.pt"),
        ("decode", 400, "exp/tiny/decode_test_greedy/hyp.jsonl"),
        ("score", 700, "exp/tiny/decode_test_greedy/scores.json"),
        ("results", 700, "exp/report.html"),
    ],
)
def test_full_disk(recipe, stage, size, outputs, monkeypatch):
    """Ends with an error that names the file; with space again, the same command succeeds."""
    for pattern in outputs.split():
        for path in recipe.glob(pattern):
            path.unlink()
    for stamp in [path for path in recipe.rglob("*") if path.name.endswith("stamp")]:
        stamp.unlink()
    options = () if stage != "train" else ("--name", "tiny", "--set", "train.log_interval=1")
    monkeypatch.setattr(tempfile, "tempdir", str(recipe))  # a training sorts its cuts there
    with full_disk(size):
        told = run(stage, recipe, *options)
    assert explained(told, recipe, "File too large", "free some space")
    assert not [path for pattern in outputs.split() for path in recipe.glob(pattern)]
    assert not [p for p in recipe.rglob(".*") if p.suffix in (".gz", ".pt", ".md", ".json")]
    again = run(stage, recipe, *options)
    assert again.code == 0, again.err
    assert all(list(recipe.glob(pattern)) for pattern in outputs.split())


@pytest.fixture(scope="module")
def talker(whole, tmp_path_factory) -> Path:
    """A model that puts out a token for every frame it hears, by what it hears below 3.5 kHz."""
    content = checkpoints.load(whole / "exp" / "tiny" / "final.pt", KIND)
    weights = content["model"]
    generator = torch.Generator().manual_seed(1)
    for name in ("joiner.encoder_proj.weight", "joiner.output_linear.weight"):
        weights[name] = 2 * torch.randn(weights[name].shape, generator=generator)
    weights["joiner.decoder_proj.weight"].zero_()
    weights["joiner.output_linear.bias"][:5] = -1e4  # neither blank nor a silent token
    weights["encoder.norm.istd_F"][55:] = 0.0
    path = tmp_path_factory.mktemp("talker") / "final.pt"
    checkpoints.save(path, KIND, content)
    return path


def transcribe(model: Path, *files: Path) -> Outcome:
    options = ("--set", "decode.greedy.max_symbols_per_frame=1")
    return call("transcribe", "--model", model, *options, *files)


def test_any_rate_and_any_channels_give_the_same_text(talker, tmp_path):
    files = []
    for rate in (16000, 8000, 44100):
        files.append(tmp_path / f"{rate}.wav")
        soundfile.write(files[-1], sound(3.0, rate, 7), rate)
    files.append(tmp_path / "stereo.flac")
    samples_N = sound(3.0, 16000, 7)
    soundfile.write(files[-1], np.stack([1.2 * samples_N, 0.8 * samples_N], 1), 16000)
    files.append(tmp_path / "other.wav")
    soundfile.write(files[-1], sound(3.0, 16000, 8), 16000)
    done = transcribe(talker, *files)
    assert (done.code, done.err) == (0, "")
    text, narrow, wide, stereo, other = done.out.splitlines()
    assert len(set(text)) > 5
    for same in (narrow, wide, stereo):
        assert jiwer.cer(text, same) < 0.1, (text, same)
    assert jiwer.cer(text, other) > 0.3  # it does listen


def test_unsupported_and_empty_files_are_named_and_the_good_one_is_read(talker, tmp_path):
    good = tmp_path / "good.wav"
    soundfile.write(good, sound(1.0, 16000, 1), 16000)
    bad = {name: tmp_path / name for name in ("absent.wav", "empty.wav", "none.wav", "text.mp3")}
    bad["empty.wav"].touch()
    soundfile.write(bad["none.wav"], np.zeros(0), 16000)
    bad["text.mp3"].write_text("no audio at all")
    done = transcribe(talker, *bad.values(), good)
    assert done.code == 1
    assert done.out == transcribe(talker, good).out != "\n"
    told = done.err.splitlines()
    assert [line.startswith("  fix: ") for line in told] == [False, True] * len(bad)
    for line, path in zip(told[::2], bad.values(), strict=True):
        assert line.startswith(f"error: {path}: ")


def test_silence_is_a_result(whole, talker, tmp_path):
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(16000), 16000)
    for options in ((), ("--json",), ("--live",), ("--endpoint",)):
        done = call("transcribe", "--model", whole / "exp" / "tiny", *options, silence)
        assert (done.code, done.err) == (0, "")


def test_a_corpus_of_bad_audio_stops_stage_1_with_a_summary(recipe):
    for number, rate in enumerate((8000, 44100)):
        path = recipe / "wav" / f"train-{number}.wav"
        soundfile.write(path, sound(1.0, rate, number), rate)
    samples_N = sound(1.0, 16000, 1)
    soundfile.write(recipe / "wav" / "train-2.wav", np.stack([samples_N] * 2, 1), 16000)
    soundfile.write(recipe / "wav" / "train-3.wav", np.zeros(16000), 16000)
    empty(recipe / "wav" / "train-4.wav")
    told = run("manifests", recipe)
    table = recipe / "data" / "quarantine.tsv"
    kinds = ("2 wrong rate", "1 not mono", "1 silent", "1 zero-length", "error_budget")
    assert explained(told, table, "5 of 8", *kinds)
    assert len(table.read_text().splitlines()) == 6


@pytest.mark.parametrize("rate", [8000, 44100])
def test_stage_1_reads_other_rates_when_it_may(recipe, rate):
    path = recipe / "wav" / "test-0.wav"
    soundfile.write(path, sound(1.0, rate, 0), rate)
    done = run("manifests", recipe, "--set", "manifests.resample=true")
    assert done.code == 0, done.err
    with gzip.open(recipe / "data" / "test" / "cuts.jsonl.gz", "rt") as lines:
        assert '"sampling_rate": 16000' in next(line for line in lines if "test-0" in line)
    done = run("decode", recipe)
    assert done.code == 0, done.err

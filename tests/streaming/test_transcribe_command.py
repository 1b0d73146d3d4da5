"""`asrlib transcribe`: every kind of file gives text or a clear error, and spoils no other."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import click.testing
import pytest
import soundfile
import torch
from streaming_fakes import RATE, babble, recognizer_of, transcribe

from asrlib.checkpoint_file import save
from asrlib.cli.transcribe import command
from asrlib.cli.transcript_output import Screen
from asrlib.errors import CheckpointError, ConfigError, UserError
from asrlib.features.fbank import FbankConfig
from asrlib.transducer.model_io import KIND, transducer_payload


@pytest.fixture(scope="module")
def model_dir(random_models, tokenizer, tmp_path_factory) -> Path:
    model = random_models["lstm", "stateless"]
    folder = tmp_path_factory.mktemp("exp") / "lstm"
    payload = transducer_payload(model, tokenizer, FbankConfig())
    save(folder / "final.pt", KIND, {"model": model.state_dict(), "payload": payload, "facts": {}})
    return folder


@pytest.fixture(scope="module")
def audio(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    samples = babble(1.5, seed=2).numpy() / 4
    soundfile.write(folder / "good.wav", samples, RATE, subtype="FLOAT")
    soundfile.write(folder / "stereo.flac", torch.tensor(samples).repeat(2, 1).T.numpy(), RATE)
    soundfile.write(folder / "mono.flac", samples, RATE)
    soundfile.write(folder / "slow.wav", babble(1.0, rate=8000).numpy() / 4, 8000)
    soundfile.write(folder / "fast.wav", babble(1.0, rate=44100).numpy() / 4, 44100)
    soundfile.write(folder / "silence.wav", torch.zeros(RATE).numpy(), RATE)
    soundfile.write(folder / "nothing.wav", torch.zeros(0).numpy(), RATE)
    (folder / "empty.wav").touch()
    (folder / "notes.txt").write_text("no audio")
    return folder


def run(*args: object) -> click.testing.Result:
    return click.testing.CliRunner().invoke(command, [str(a) for a in args])


def test_text_is_that_of_the_recognizer(model_dir, audio, random_models, tokenizer):
    result = run("--model", model_dir, audio / "good.wav")
    assert result.exit_code == 0
    recognizer = recognizer_of(random_models["lstm", "stateless"], tokenizer)
    expected = transcribe(recognizer, babble(1.5, seed=2) / 4).text
    assert result.stdout == expected + "\n"
    assert expected
    assert run("--model", model_dir / "final.pt", audio / "good.wav").stdout == result.stdout


@pytest.mark.parametrize("search", ["greedy", "modified_beam", "fast_beam"])
def test_any_rate_and_channels(model_dir, audio, search):
    files = [audio / f for f in ("mono.flac", "stereo.flac", "slow.wav", "fast.wav")]
    result = run("--model", model_dir, "--search", search, *files)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == len(files)
    assert lines[0] == lines[1]


def test_json_holds_words_with_times(model_dir, audio):
    result = run("--model", model_dir, "--json", "--endpoint", audio / "good.wav")
    entry = json.loads(result.stdout)
    assert entry["file"].endswith("good.wav")
    assert " ".join(w["word"] for w in entry["words"]).split() == entry["text"].split()
    assert all(0 <= w["start"] <= w["end"] <= 2.0 for w in entry["words"])
    assert [w for s in entry["segments"] for w in s["words"]] == entry["words"]


def test_silence_is_an_empty_line(audio, tmp_path, random_models, tokenizer):
    model = random_models["lstm", "stateless"]
    bias_V = model.joiner.output_linear.bias
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["joiner.output_linear.bias"][0] = bias_V[0] + 100  # this model says nothing at all
    payload = transducer_payload(model, tokenizer, FbankConfig())
    save(tmp_path / "final.pt", KIND, {"model": state, "payload": payload, "facts": {}})
    result = run("--model", tmp_path, audio / "silence.wav")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "\n", "")


def test_bad_files_are_named_and_good_ones_transcribed(model_dir, audio):
    good = run("--model", model_dir, audio / "good.wav").stdout
    bad = ["missing.wav", "empty.wav", "nothing.wav", "notes.txt", "."]
    files = [audio / "good.wav", *(audio / name for name in bad), audio / "good.wav"]
    result = run("--model", model_dir, *files)
    assert result.exit_code == 1
    assert result.stdout == good * 2
    for name in bad:
        assert f"error: {audio / name}" in result.stderr
    assert result.stderr.count("fix:") == len(bad)


def test_not_a_number_is_named(model_dir, tmp_path):
    samples = babble(1.0).numpy()
    samples[5] = float("nan")
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    result = run("--model", model_dir, tmp_path / "nan.wav")
    assert result.exit_code == 1
    assert "nan.wav" in result.stderr
    assert "Traceback" not in result.stderr


def test_live_shows_every_change_and_ends_with_the_text(model_dir, audio):
    plain = run("--model", model_dir, audio / "good.wav").stdout
    live = run("--model", model_dir, "--live", audio / "good.wav").stdout.splitlines(True)
    assert len(live) > 2
    assert live[-1] == plain
    assert all(a != b for a, b in pairwise(live[:-1]))


def test_a_terminal_line_is_rewritten():
    class Terminal:
        def __init__(self) -> None:
            self.written = ""

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> None:
            self.written += text

        def flush(self) -> None:
            pass

    terminal = Terminal()
    screen = Screen(terminal)
    for text in ("", "ONE", "ONE", "ONE TWO", "X" * 1000):
        screen.show(text)
    screen.clear()
    assert "\n" not in terminal.written
    shown = terminal.written.split("\r\x1b[K")
    assert shown[:3] == ["", "ONE", "ONE TWO"]
    assert 0 < len(shown[3]) < 1000
    assert shown[-1] == ""


def test_realtime_takes_its_time(model_dir, audio, monkeypatch):
    now, slept = [0.0], []
    monkeypatch.setattr("asrlib.cli.transcribe.time.monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("asrlib.cli.transcribe.time.sleep", sleep)
    assert run("--model", model_dir, "--realtime", audio / "good.wav").exit_code == 0
    assert sum(slept) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("args", "kind", "words"),
    [
        ([], UserError, "--model is missing"),
        (["--model", "nowhere"], UserError, "nowhere"),
        (["--search", "best"], ConfigError, "search"),
        (["--set", "decode.beem=3"], ConfigError, "beem"),
    ],
)
def test_wrong_options_have_a_mend(model_dir, audio, args, kind, words):
    model = [] if not args or "--model" in args else ["--model", model_dir]
    result = run(*model, *args, audio / "good.wav")
    assert isinstance(result.exception, kind)
    assert words in result.exception.what
    assert result.exception.fix


def test_a_corrupt_model_is_an_error(model_dir, audio, tmp_path):
    content = (model_dir / "final.pt").read_bytes()
    (tmp_path / "final.pt").write_bytes(content[: len(content) // 2])
    result = run("--model", tmp_path, audio / "good.wav")
    assert isinstance(result.exception, CheckpointError)
    assert "final.pt" in result.exception.what

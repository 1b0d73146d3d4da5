"""One log file for each stage, in which its errors stand too."""

from __future__ import annotations

import contextlib
import runpy
import sys
from pathlib import Path

import click
import pytest
from command_fakes import STAGES, call, in_process, write_recipe

import asrlib.cli.fbank
from asrlib.cli.common import log_to
from asrlib.errors import DataError
from local.script import recipe_command

REPO = Path(__file__).resolve().parents[1]
# But members.py, which prints names for a shell, and lm_text.py, which reads nothing of a recipe.
SCRIPTS = [
    p
    for p in REPO.glob("egs/*/local/*.py")
    if "run(command)" in p.read_text() and p.name not in ("members.py", "lm_text.py")
]
SCRIPTS.append(REPO / "local" / "corpus.py")
OPTIONS = {
    "corpus.py": ["--home", "none", "--title", "T", "--probe", "x", "--corpus-dir", "none"],
    "generate.py": ["--set", "corpus.sed=1"],
}
LOGS = {
    "manifests": "data/log/manifests.log",
    "fbank": "data/log/fbank.log",
    "tokens": "data/log/tokens.log",
    "train": "exp/tiny/log/train.log",
    "decode": "exp/tiny/decode_test_greedy/log/decode.log",
    "score": "exp/tiny/decode_test_greedy/log/score.log",
    "results": "exp/log/results.log",
    "publish": "exp/log/publish.log",
}


def test_every_command_of_a_stage_leaves_a_log(tmp_path, monkeypatch):
    write_recipe(tmp_path)
    monkeypatch.setattr(asrlib.cli.fbank, "run_array", in_process)
    for name, stage in STAGES.items():
        assert not (tmp_path / LOGS[name]).exists()
        done = call(*stage, "--recipe-dir", tmp_path)
        assert done.code == 0, done.err
        logged = (tmp_path / LOGS[name]).read_text().splitlines()
        assert logged
        assert logged[-1] in done.err


def test_every_kind_of_script_is_tried():
    kinds = {"corpus.py", "generate.py", "raw.py", "pool.py", "mixtures.py"}
    assert {p.name for p in SCRIPTS} == kinds


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: str(p.relative_to(REPO)))
def test_every_script_of_a_recipe_leaves_its_error_in_a_log(script, tmp_path, monkeypatch, capsys):
    options = ["--recipe-dir", str(tmp_path), *OPTIONS.get(script.name, [])]
    monkeypatch.setattr(sys, "argv", [str(script), *options])
    monkeypatch.syspath_prepend(script.parent)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 1
    (log,) = (tmp_path / "data" / "log").iterdir()
    stage_0 = script.name in OPTIONS
    own = "mixtures.log" if script.name == "mixtures.py" else "raw.log"
    assert log.name == ("corpus.log" if stage_0 else own)
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "Traceback" not in told
    assert log.read_text().endswith(f"ERROR {told}")


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (
            DataError("a.wav: silent", "leave it out"),
            "ERROR error: a.wav: silent\n  fix: leave it",
        ),
        (ZeroDivisionError("by nought"), "ZeroDivisionError: by nought"),
    ],
)
def test_the_log_holds_what_ended_a_command(tmp_path, error, logged):
    @recipe_command("work", None)
    def command(recipe_dir: Path) -> None:
        raise error

    with contextlib.suppress(ZeroDivisionError):
        call("--recipe-dir", tmp_path, command=command)
    text = (tmp_path / "data" / "log" / "work.log").read_text()
    assert logged in text
    assert ("Traceback" in text) == isinstance(error, ZeroDivisionError)


def test_without_a_log_an_error_is_told_once():
    @click.command()
    def command() -> None:
        log_to(None)
        raise DataError("a.wav: silent", "leave it out")

    assert call(command=command).err == "error: a.wav: silent\n  fix: leave it out\n"

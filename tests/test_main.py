"""`python -m asrlib`: an error for the user is two lines, not a traceback."""

from __future__ import annotations

import errno
import importlib
import subprocess
import sys

import click
import pytest

import asrlib.__main__ as main_module
from asrlib.errors import DataError


def call(monkeypatch, capsys, raised: BaseException | None = None, *argv: str) -> tuple[int, str]:
    """Exit status and stderr of a command that raises `raised`."""

    @click.command()
    def command() -> None:
        if raised is not None:
            raise raised

    monkeypatch.setattr(main_module, "COMMANDS", ("fake",))
    monkeypatch.setattr(
        main_module.importlib, "import_module", lambda _: type("Module", (), {"command": command})
    )
    monkeypatch.setattr(sys, "argv", ["asrlib", *(argv or ("fake",))])
    with pytest.raises(SystemExit) as caught:
        main_module.main()
    return caught.value.code, capsys.readouterr().err


def test_success_exits_with_zero(monkeypatch, capsys):
    assert call(monkeypatch, capsys) == (0, "")


def test_the_status_that_a_command_exits_with_is_kept(monkeypatch, capsys):
    assert call(monkeypatch, capsys, click.exceptions.Exit(3)) == (3, "")


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (DataError("a.wav: empty", "record it again"), "error: a.wav: empty"),
        (OSError(errno.ENOSPC, "No space left on device", "x.pt"), "error: x.pt: No space left"),
        (OSError(errno.EFBIG, "File too large"), "error: output: File too large"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "error: x: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), "error: x: No such file"),
        (ModuleNotFoundError("No module named 'k2'", name="k2"), "error: No module named 'k2'"),
        (ImportError("k2 was built using PyTorch 1"), "error: k2 was built using PyTorch 1"),
    ],
)
def test_a_foreseeable_fault_is_two_lines(monkeypatch, capsys, raised, line):
    status, err = call(monkeypatch, capsys, raised)
    assert status == 1
    first, second = err.splitlines()
    assert first.startswith(line)
    assert second.startswith("  fix: ")


@pytest.mark.parametrize(
    "raised",
    [
        ZeroDivisionError(),
        EOFError("cut off"),
        ImportError("cannot import name x", name="asrlib.x"),
        OSError(5, "I/O"),
    ],
)
def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch, capsys, raised):
    monkeypatch.setattr(sys, "argv", ["asrlib", "fake"])
    with pytest.raises(type(raised)):
        call(monkeypatch, capsys, raised)


def test_debug_shows_the_traceback(monkeypatch, capsys):
    with pytest.raises(DataError):
        call(monkeypatch, capsys, DataError("a", "b"), "--debug", "fake")


def test_an_unknown_command_is_refused(monkeypatch, capsys):
    status, err = call(monkeypatch, capsys, None, "nonsense")
    assert status == 2
    assert "nonsense" in err


@pytest.mark.parametrize("name", main_module.COMMANDS)
def test_every_command_has_a_module_and_help(name):
    command = importlib.import_module(f"asrlib.cli.{name.replace('-', '_')}").command
    assert isinstance(command, click.Command)
    assert command.help


def test_help_lists_the_commands_without_loading_heavy_libraries(repo):
    script = (
        "import runpy, sys; sys.argv = ['asrlib', '--help']\n"
        "try: runpy.run_module('asrlib', run_name='__main__')\n"
        "except SystemExit as e: assert not e.code\n"
        "assert not {'torch', 'lhotse', 'k2', 'pydantic'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repo, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert all(f" {name} {main_module.summary(name)}" in shown for name in main_module.COMMANDS)


def test_a_python_without_click_is_told_to_install(repo):
    done = subprocess.run(
        [sys.executable, "-S", "-m", "asrlib", "doctor"],
        cwd=repo,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: click is not installed in this Python\n"
        "  fix: run `. ./path.sh`, after tools/install.sh; for the audit alone, "
        "pip install 'fairstream[audit]'\n"
    )

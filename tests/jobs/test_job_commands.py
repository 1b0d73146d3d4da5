"""Commands as jobs on this machine: what is shown, what fails, and how they are stopped."""

from __future__ import annotations

import signal

import pytest
from command_fakes import call

from asrlib.errors import UserError
from asrlib.jobs.commands import first_error, run_commands


def test_lines_come_with_the_name_of_the_job_and_failures_are_named(tmp_path):
    jobs = [("one seed", "echo 'a b'"), ("two", "sh -c 'echo error: no corn >&2; exit 3'")]
    words = [part for job in jobs for part in ("--job", *job)]
    done = call("jobs", "work", "--log-dir", tmp_path, *words)
    assert done.code == 1
    assert "one seed: a b\n" in done.out
    assert "two: error: no corn\n" in done.out
    assert "1 of 2 jobs failed:\n  two: no corn; log: " in done.err
    assert (tmp_path / "one.seed.log").read_text().endswith("a b\n")


def test_the_first_command_that_fails_ends_a_job(tmp_path):
    with pytest.raises(UserError, match="false ended with exit code 1"):
        run_commands([["true"], ["false"], ["touch", str(tmp_path / "never")]])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "error: x: missing\n  fix: make it\nTraceback\nasrlib.errors.UserError: 1\n",
            "x: missing",
        ),
        ("INFO fine\nValueError: odd\n", "ValueError: odd"),
        ("killed\n", "died without an error"),
    ],
)
def test_the_first_error_of_a_log_is_the_reason(tmp_path, text, told):
    (tmp_path / "a.log").write_text(text)
    assert first_error(tmp_path / "a.log") == told


def test_a_log_that_is_missing_has_no_reason(tmp_path):
    assert first_error(tmp_path / "a.log") == "died without an error"


SAVES = "trap 'exit 143' TERM; kill -{} $PPID; sleep 5 & wait $!"
IGNORES = "kill -{} $PPID; exec sleep 5"


@pytest.fixture
def in_slurm(tmp_path, monkeypatch):
    """This process is a job of Slurm, whose commands are stubs; a function sets a job's state."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def answer(state: str, scontrol: str = "exit 1") -> None:
        for name, script in (("squeue", f"echo {state}"), ("scontrol", scontrol)):
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)

    return answer


def test_a_warned_command_that_cannot_save_ran_out_of_time(in_slurm):
    in_slurm("RUNNING")
    with pytest.raises(UserError, match="sh ran into the time limit") as error:
        run_commands([["sh", "-c", IGNORES.format("USR2")]])
    assert "timeout_min" in error.value.fix


@pytest.mark.parametrize("name", ["USR1", "USR2", "TERM"])
def test_a_job_that_slurm_does_not_take_back_says_so(in_slurm, name):
    in_slurm("RUNNING")
    trap = SAVES.replace("TERM;", "TERM INT;").format(name)
    with pytest.raises(UserError, match="does not put its job back"):
        run_commands([["sh", "-c", trap], ["false"]])


def test_a_job_that_is_being_cancelled_stays_out_of_the_queue(in_slurm, tmp_path):
    in_slurm("COMPLETING", f"touch {tmp_path}/requeued")
    with pytest.raises(SystemExit) as end:
        run_commands([["sh", "-c", IGNORES.format("TERM")]])
    assert end.value.code == 128 + signal.SIGTERM
    assert not (tmp_path / "requeued").exists()


def test_only_the_first_of_several_tasks_decides(in_slurm, monkeypatch, tmp_path):
    in_slurm("RUNNING", f"touch {tmp_path}/requeued")
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(SystemExit) as end:
        run_commands([["sh", "-c", IGNORES.format("TERM")]])
    assert end.value.code == 0
    assert not (tmp_path / "requeued").exists()

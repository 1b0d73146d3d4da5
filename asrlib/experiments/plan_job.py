"""A job of a plan: commands of the stages, one after the other, in processes of their own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

from asrlib.errors import UserError


@dataclass(frozen=True)
class Job:
    """Commands of `python -m asrlib`, one after the other."""

    name: str
    commands: tuple[tuple[str, ...], ...]


def decoding(
    name: str,
    sets: Sequence[str],
    searches: Sequence[str],
    common: Sequence[str],
    score: str = "score",
    cohorts: str | None = None,
) -> list[tuple[str, ...]]:
    """Return the commands that decode and score a model of exp/.

    Args:
        name: the model's directory.
        common: options of every command.
        score: the command that scores.
        cohorts: directory of the true cohorts that the model is told; None: it is told nothing.
    """
    told = () if cohorts is None else ("--membership", "true")
    known = () if cohorts is None else ("--cohorts", cohorts)
    commands = []
    for test_set in sets:
        for search in searches:
            where = ("--name", name, "--test-set", test_set, "--search", search, *told)
            commands += [("decode", *where, *known, *common), (score, *where, *common)]
    return commands


def run_job(job: Job) -> None:
    """Run a job's commands; SIGTERM goes on to the one that runs, which may save.

    Raises:
        UserError: a command failed or was stopped.
    """
    child: subprocess.Popen[bytes] | None = None
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        # Slurm tells all processes of a job itself, and a second signal would end a save.
        if child is not None and "SLURM_JOB_ID" not in os.environ:
            child.send_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        for words in job.commands:
            command = [sys.executable, "-m", "asrlib", *words]
            print("$", shlex.join(["python", *command[1:]]), flush=True)
            child = subprocess.Popen(command)
            status = child.wait()
            if stopped or status:
                how = "was stopped" if stopped else f"ended with exit code {status}"
                raise UserError(f"asrlib {words[0]} {how}", "see the log, then run the plan again")
    finally:
        signal.signal(signal.SIGTERM, before)

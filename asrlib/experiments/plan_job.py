"""A job of a plan: commands of the stages, one after the other, in processes of their own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from types import FrameType

from asrlib.errors import UserError


@dataclass(frozen=True)
class Job:
    """Commands of `python -m asrlib`, one after the other."""

    name: str
    commands: tuple[tuple[str, ...], ...]


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

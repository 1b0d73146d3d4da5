"""Commands as the work of a job, which save when they are stopped, and go on later.

Three rules make the same command safe here and on Slurm. A local job that is told to stop hands
SIGTERM on. Slurm tells either all processes of a job or the first one only, so a job on Slurm hands
SIGTERM on as SIGINT: a training takes both for the same wish, but ends at once at a second SIGTERM.
SIGUSR2, for which submitit asks, is Slurm's warning before the time limit, and SIGUSR1 on some
clusters; a command gets SIGTERM for it, and if it saved, the job goes back into the queue.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from asrlib.errors import UserError
from asrlib.jobs.array import run_each
from asrlib.jobs.slurm import requeue
from asrlib.jobs.worker import CommandFailed

GRACE_SECONDS = 120.0  # for trainings to save in, when jobs are stopped
_WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)  # before the time limit
_SIGNALS = (signal.SIGTERM, *_WARNINGS)
_SAVED = (128 + signal.SIGTERM, 128 + signal.SIGINT)  # exit codes of a training that saved


def python_command(*words: str) -> tuple[str, ...]:
    """Return the command `python -m asrlib WORDS...`, in this Python."""
    return (sys.executable, "-m", "asrlib", *words)


def run_jobs(
    commands: Mapping[str, Sequence[str]],
    *,
    nj: int,
    engine: str,
    log_dir: Path,
    name: str,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Run commands side by side, each in a job of its own, and print their output as it comes.

    If one fails, the others still finish. Ctrl-C and SIGTERM stop the jobs; trainings save first.

    Args:
        commands: by the label that is printed before their lines. The log of a command is
            `log_dir/LABEL.log`, with dots for spaces and slashes.
        nj, engine, options: as `run_each` takes them.
        name: of this set of jobs, in Slurm's queue.

    Raises:
        ConfigError: no such engine, or it refuses the options.
        UserError: commands failed; names them and says why.
    """
    labels = list(commands)
    logs = [log_dir / f"{re.sub('[ /]', '.', label)}.log" for label in labels]
    outcomes = run_each(
        run_commands,
        [[tuple(words)] for words in commands.values()],
        nj=nj,
        engine=engine,
        logs=logs,
        name=name,
        options=options,
        grace_s=GRACE_SECONDS,
        followed=labels,
    )
    with contextlib.closing(outcomes):
        failed = sorted(i for i, outcome in outcomes if isinstance(outcome, UserError))
    if failed:
        lines = "".join(f"\n  {labels[i]}: {first_error(logs[i])}; log: {logs[i]}" for i in failed)
        raise UserError(
            f"{name}: {len(failed)} of {len(labels)} jobs failed:{lines}",
            "see their logs; the same command goes on from what is complete",
        )


def first_error(log: Path) -> str:
    """Return the first error that a job's log tells."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    told = [line for line in lines if re.match(r"error: |[\w.]*Error: ", line)]
    return told[0].removeprefix("error: ")[:300] if told else "died without an error"


def run_commands(commands: Sequence[Sequence[str]]) -> None:
    """Run commands one after the other; told to stop, let the running one save.

    On Slurm, a job that is preempted, or that saved before its time limit, goes back into the
    queue.

    Raises:
        CommandFailed: a command failed or was stopped.
        UserError: Slurm stopped it, and the job does not go on.
        SystemExit: Slurm stopped the job, and decides what becomes of it.
    """
    child: subprocess.Popen[bytes] | None = None
    told: signal.Signals | None = None
    handed_on = False
    on_slurm = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told, handed_on
        told = told or signal.Signals(number)
        if child is not None:
            again = on_slurm and number == signal.SIGTERM
            child.send_signal(signal.SIGINT if again else signal.SIGTERM)
            handed_on = True

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        for command in commands:
            print("$", _shown(command), flush=True)
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # none gets lost while it starts
            if told is None:
                child = subprocess.Popen(command, preexec_fn=_prepare)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            if told is not None and not handed_on:  # another thread heard it while it started
                stop(told, None)
            status = _SAVED[0] if child is None else _wait(child)
            child = None
            if told is not None and on_slurm:
                _leave(told, status, command)
            if told is not None or status:
                how = "was stopped" if told else f"ended with exit code {status}"
                raise CommandFailed(f"{_title(command)} {how}", "see the log, then run again")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Wait for a command; wake often, as a signal that another thread receives wakes nobody."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=0.5)


def _prepare() -> None:
    """Make the command ignore the warnings, which would end most programs, but hear SIGTERM."""
    for number in _WARNINGS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _leave(told: signal.Signals, status: int, command: Sequence[str]) -> None:
    """End a job that Slurm told to stop, without a result, so that the caller asks Slurm for it."""
    if told in _WARNINGS and status not in _SAVED:
        raise UserError(
            f"{_title(command)} ran into the time limit of its job",
            "raise timeout_min for this stage in cmd.sh, then run again",
        )
    if os.environ.get("SLURM_PROCID", "0") != "0":
        sys.exit(0)  # of several tasks the first one decides; another code could end it early
    if not requeue():
        raise UserError(
            f"{_title(command)} was stopped, and Slurm does not put its job back into the queue",
            "run the same command again: it goes on from its checkpoint",
        )
    sys.exit(128 + told)


def _shown(command: Sequence[str]) -> str:
    return shlex.join(["python", *command[1:]] if command[0] == sys.executable else command)


def _title(command: Sequence[str]) -> str:
    """Name a command for a message: `asrlib train`, or the script's path."""
    if command[:3] == python_command()[:3]:
        return " ".join(command[2:4])
    return command[0]

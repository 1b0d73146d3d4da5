"""What happens inside a job: its output goes to its log, its result or failure to the caller."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import submitit
from submitit.core.utils import UncompletedJobError

from asrlib.errors import UserError
from asrlib.files import no_room

Shard = TypeVar("Shard")
Result = TypeVar("Result")

GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Done(Generic[Result]):
    """The result of a job."""

    value: Result


@dataclass(frozen=True)
class Failed:
    """The failure of a job, as text, since some exceptions cannot be pickled."""

    what: str
    fix: str


class CommandFailed(UserError):
    """A command of a job failed; the log holds what it said itself."""


@dataclass(frozen=True)
class Work(Generic[Shard, Result]):
    """Call a function on a shard, inside a job.

    Attributes:
        function: importable by name, as is the shard's class.
        shard: its argument.
        log: file that all output is appended to, also that of libraries.
        gpus: GPUs that a local job may see, as CUDA_VISIBLE_DEVICES says it; None: all. submitit
            hides them from local jobs.
    """

    function: Callable[[Shard], Result]
    shard: Shard
    log: Path
    gpus: str | None

    def __call__(self) -> Done[Result] | Failed:
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":
            os.environ.pop(GPUS, None)
            if self.gpus is not None:
                os.environ[GPUS] = self.gpus
        logging.getLogger("submitit").setLevel(logging.ERROR)
        with open(self.log, "a") as f:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(f.fileno(), 1)
            os.dup2(f.fileno(), 2)
            try:
                return Done(self.function(self.shard))
            except Exception as e:
                _tell(e)
                return _failed(e)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()


def _tell(error: Exception) -> None:
    """Write an error to the log."""
    if not isinstance(error, UserError):
        traceback.print_exception(type(error), error, error.__traceback__)
    elif not isinstance(error, CommandFailed):
        print(f"error: {error}", file=sys.stderr)


def _failed(error: Exception) -> Failed:
    if isinstance(error, UserError):
        return Failed(error.what, error.fix)
    if isinstance(error, OSError):
        free = "free some space there, then run again"
        fix = free if no_room(error) else "see the log, then run again"
        return Failed(f"{error.filename or 'a job'}: {error.strerror or error}", fix)
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return Failed(f"a job failed with {reason}", "see the log, then run again")


def collect(job: submitit.Job[Done[Result] | Failed], log: Path, name: str) -> Result | UserError:
    """Return the result of a job that has ended, or what went wrong; of several tasks, the first.

    Args:
        log: its log, which gets what the job wrote before it opened the log.
        name: of the job, for the message.
    """
    try:
        outcomes = job.results()
    except UncompletedJobError:
        with open(log, "a") as f:
            f.write(job.stderr() or "")
        return UserError(
            f"{name}: a job died without a result (killed, out of memory, or out of time); "
            f"log: {log}",
            "see the log; give the job more memory or time, or use fewer jobs, then run again",
        )
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            return UserError(f"{name}: {outcome.what}\n  log: {log}", outcome.fix)
    (first, *_) = outcomes
    assert isinstance(first, Done)  # failures are handled above
    return first.value

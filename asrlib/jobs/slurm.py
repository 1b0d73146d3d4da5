"""States of Slurm jobs, from Slurm's queue; how jobs are cancelled and put back into it.

submitit asks `sacct`, which needs an accounting database. On a cluster without one, it would wait
forever for a job that was killed.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import submitit
from submitit.slurm.slurm import SlurmInfoWatcher

_GONE = "GONE"  # state of a job that ended so long ago that the controller has forgotten it
_SUBMITTED = "_submitted.pkl"  # submitit's files of submitted jobs: ID_submitted.pkl
_KILL_SECONDS = 600  # a job that was put back into the queue is killed much sooner


class QueueWatcher(SlurmInfoWatcher):
    """Reads job states from `squeue`; they are right whenever the controller answers."""

    def _make_command(self) -> list[str] | None:
        if not self._registered - self._finished:
            return None
        # List all jobs of the user: to name a job that the controller has forgotten is an error.
        listing = ["--noheader", "--array", "--states=all", "--format=%i|%T"]
        return ["squeue", *listing, f"--user={os.getuid()}"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """Return the state of each job that is not known to have ended, by job id."""
        text = string if isinstance(string, str) else string.decode()
        states = dict(line.strip().split("|") for line in text.splitlines() if line.strip())
        waiting = self._registered - self._finished
        return {job: {"JobID": job, "State": states.get(job, _GONE)} for job in waiting}

    def count(self, state: str) -> int:
        """Return how many jobs had a state when the queue was last asked."""
        return sum(info["State"] == state for info in self._info_dict.values())


def cancel(jobs: Collection[str], grace_s: float) -> None:
    """Cancel jobs, and wait until they have ended, at most `grace_s` seconds."""
    if not jobs:
        return
    subprocess.run(["scancel", *jobs], capture_output=True, check=False)
    until = time.monotonic() + grace_s
    while time.monotonic() < until and _alive(jobs):
        time.sleep(0.5)


def cancel_leftovers(workplace: Path, name: str, grace_s: float) -> list[str]:
    """Cancel jobs that a caller who was killed left in the queue; return their ids.

    Args:
        workplace: submitit's directory of these jobs.
        name: the jobs' name, because another cluster may give the same ids to other jobs.
    """
    known = {p.name.removesuffix(_SUBMITTED) for p in workplace.glob(f"*{_SUBMITTED}")}
    left = _alive(known, name) if known else []
    cancel(left, grace_s)
    return left


def _alive(jobs: Collection[str], name: str | None = None) -> list[str]:
    """Return which jobs have not ended, and have this name."""
    command = ["squeue", "--noheader", "--array", "--format=%i|%j", f"--user={os.getuid()}"]
    rows = [line.strip().split("|", 1) for line in (_answer(command) or "").splitlines()]
    return [job for job, called in rows if job in jobs and name in (None, called)]


def requeue() -> bool:
    """Put the job that calls this back into the queue, from where it starts again.

    A job that is being cancelled, or that Slurm itself is putting back, is left alone.

    Returns:
        Whether it could be; then Slurm kills this process soon.
    """
    job = submitit.JobEnvironment().job_id
    # The signal that stopped the job may also stop a question asked at the same moment.
    if _answer(["squeue", "--noheader", "--format=%T", f"--jobs={job}"], tries=5) != "RUNNING":
        return True
    if _answer(["scontrol", "requeue", job], tries=5) is None:
        return False
    time.sleep(_KILL_SECONDS)
    return True


def _answer(command: Sequence[str], tries: int = 1) -> str | None:
    """Return what a command prints; None if it fails, each second anew."""
    for number in range(tries):
        if number:
            time.sleep(1)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return None

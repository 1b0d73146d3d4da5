"""States of Slurm jobs, from Slurm's queue.

submitit asks `sacct`, which needs an accounting database. On a cluster without one, it would wait
forever for a job that was killed.
"""

from __future__ import annotations

import os

from submitit.slurm.slurm import SlurmInfoWatcher

_GONE = "GONE"  # state of a job that ended so long ago that the controller has forgotten it


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

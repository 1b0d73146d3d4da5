"""How Slurm's jobs fare, from its queue.

submitit asks `sacct`, which needs an accounting database: on a cluster without one, a job that was
killed would be waited for without end.
"""

from __future__ import annotations

import os

from submitit.slurm.slurm import SlurmInfoWatcher

_GONE = "GONE"  # finished so long ago that the controller has forgotten it


class QueueWatcher(SlurmInfoWatcher):
    """Jobs' states by `squeue`; the answer is right whenever the controller answers at all."""

    def _make_command(self) -> list[str] | None:
        if not self._registered - self._finished:
            return None
        # All of the user's: naming jobs is an error when the controller has forgotten them.
        listing = ["--noheader", "--array", "--states=all", "--format=%i|%T"]
        return ["squeue", *listing, f"--user={os.getuid()}"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """The state of each job that is not known to have ended, by its id."""
        text = string if isinstance(string, str) else string.decode()
        states = dict(line.strip().split("|") for line in text.splitlines() if line.strip())
        waiting = self._registered - self._finished
        return {job: {"JobID": job, "State": states.get(job, _GONE)} for job in waiting}

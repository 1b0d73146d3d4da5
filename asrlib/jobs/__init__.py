"""Array jobs: one function on many shards, or many commands, locally or on Slurm."""

from asrlib.jobs.array import ENGINES, run_array, run_each
from asrlib.jobs.commands import (
    GRACE_SECONDS,
    first_error,
    python_command,
    run_commands,
    run_jobs,
)

__all__ = [
    "ENGINES",
    "GRACE_SECONDS",
    "first_error",
    "python_command",
    "run_array",
    "run_commands",
    "run_each",
    "run_jobs",
]

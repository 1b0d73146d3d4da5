"""Array jobs: one function on many shards, or many commands, locally or on Slurm."""

from asrlib.jobs.array import ENGINES, run_array, run_each
from asrlib.jobs.commands import python_command, run_commands, run_jobs

__all__ = ["ENGINES", "python_command", "run_array", "run_commands", "run_each", "run_jobs"]

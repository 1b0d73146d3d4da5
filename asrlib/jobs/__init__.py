"""Array jobs: one function on many shards, locally or on Slurm."""

from asrlib.jobs.array import ENGINES, run_array, run_each

__all__ = ["ENGINES", "run_array", "run_each"]

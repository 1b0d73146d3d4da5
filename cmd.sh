# shellcheck shell=bash disable=SC2034
# Chooses the engine that runs the parallel jobs of a stage (--nj). Edit this file:
#
#   local  processes on this machine
#   slurm  a Slurm job array; tools/slurm_cluster.sh starts a small cluster for tests
engine=local

# Job options for Slurm, with the names of submitit, for example (slurm_partition=cpu mem_gb=4).
engine_options=()

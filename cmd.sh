# shellcheck shell=bash disable=SC2034
# Which engine runs the jobs of the stages that split their work (--nj). Edit it:
#
#   local  processes on this machine
#   slurm  a Slurm job array; tools/slurm_cluster.sh makes a small cluster to try it on
engine=local

# What Slurm is to know of the jobs, as submitit names it: (slurm_partition=cpu mem_gb=4)
engine_options=()

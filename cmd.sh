# shellcheck shell=bash disable=SC2034
# Says where the jobs of the stages run, and with what. Edit this file; docs/cluster.md explains it.
#
#   local  processes on this machine
#   slurm  jobs of Slurm; tools/slurm_cluster.sh starts a small cluster for tests
engine=local

# Resources of Slurm jobs: of all stages, and of single stages, which are added to them. The names
# are those of submitit; retries=N runs a failed job again, alone, up to N times. For example:
#   [all]="slurm_partition=cpu timeout_min=240 mem_gb=8 retries=1"
#   [4]="slurm_partition=gpu gpus_per_node=1 cpus_per_task=4 timeout_min=1440"
declare -A slurm_options=(
  [all]="retries=1"
)

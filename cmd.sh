# shellcheck shell=bash disable=SC2034
# Which engine runs the jobs of the stages that split their work (--nj). Edit it:
#
#   local  processes on this machine
#   slurm  a Slurm job array
engine=local

# shellcheck shell=bash disable=SC2034
# Which engine runs the jobs of the stages that split their work (--nj): source it, or edit it.
#
#   local  processes on this machine
#   slurm  a Slurm job array
#
# `engine=slurm ./run.sh` chooses for one run.
engine=${engine:-local}
case $engine in
  local | slurm) ;;
  *)
    printf "error: engine '%s' is not known\n  mend: choose local or slurm, see cmd.sh\n" \
      "$engine" >&2
    return 1
    ;;
esac

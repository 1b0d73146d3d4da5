# shellcheck shell=bash
# Options of the commands that run jobs: source it after steps/parse_options.sh, with `engine` and
# `retries` as the options --engine and --retries left them. What was not given, cmd.sh says.

: "${nj=1}" "${engine=}" "${retries=}"
[[ $nj =~ ^[1-9][0-9]*$ ]] || die "--nj '$nj' is not a number of jobs" "give 1 or more"
[[ -z $retries || $retries =~ ^[0-9]+$ ]] || die "--retries '$retries' is not a number" "give 0 or more"
_engine=$engine
# shellcheck source=cmd.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cmd.sh"
engine=${_engine:-$engine}
unset _engine
[[ $engine == local || $engine == slurm ]] ||
  die "--engine '$engine': there is no such engine" "choose local or slurm"

# job_options STAGE: fill the array `job_options` with the options of a command that runs jobs of the
# stage.
job_options() {
  local option
  job_options=(--nj "$nj" --engine "$engine")
  if [[ $engine == slurm ]]; then
    # shellcheck disable=SC2154 # cmd.sh sets it
    for option in ${slurm_options[all]-} ${slurm_options[$1]-}; do
      job_options+=(--engine-option "$option")
    done
  fi
  [[ -z $retries ]] || job_options+=(--engine-option "retries=$retries")
}

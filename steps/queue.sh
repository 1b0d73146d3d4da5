# shellcheck shell=bash
# Runs commands as jobs: source it after steps/parse_options.sh, with what steps/engine.sh needs.
#
# The commands stop when the script is stopped. Trainings save a checkpoint on SIGTERM, so the same
# command continues them later.

: "${dry_run=false}" "${recipe_dir=}"
# shellcheck source=steps/engine.sh
. "$(dirname "${BASH_SOURCE[0]}")/engine.sh"

# stoppable COMMAND...: run a command in the background and wait for it, so that this script can
# handle a signal before the command ends.
running=""
stoppable() {
  local status=0
  "$@" &
  running=$!
  wait "$running" || status=$?
  running=""
  return "$status"
}

# run COMMAND...: run a command here, or print it with --dry-run.
run() {
  if [[ $dry_run == true ]]; then
    printf '%q ' "$@" && echo
  else
    stoppable "$@"
  fi
}

# queue LABEL COMMAND...: note a command, which `drain` will run as a job. The label is what its
# output lines start with, and the name of its log.
queued=()
queue() {
  local label=$1
  shift
  if [[ $dry_run == true ]]; then
    run "$@"
  else
    queued+=("$label" "${*@Q}")
  fi
}

# drain STAGE NAME: run the commands that were queued as jobs of the stage, at most nj at the same
# time. If one fails, the others still finish, then the script fails. Here, a command that has
# nothing beside it shows its own progress. Logs are in exp/log/NAME of the recipe.
drain() {
  local jobs=() i status=0
  if [[ $engine == local ]] && ((nj == 1 || ${#queued[@]} <= 2)); then
    for ((i = 0; i < ${#queued[@]}; i += 2)); do
      eval "stoppable ${queued[i + 1]}" || status=$?
    done
  else
    for ((i = 0; i < ${#queued[@]}; i += 2)); do
      jobs+=(--job "${queued[i]}" "${queued[i + 1]}")
    done
    job_options "$1"
    ((${#jobs[@]} == 0)) ||
      stoppable python -m asrlib jobs "$2" --log-dir "$recipe_dir/exp/log/$2" "${jobs[@]}" \
        "${job_options[@]}" || status=$?
  fi
  queued=()
  return "$status"
}

trap 'kill $running 2>/dev/null || true; wait; exit 143' TERM INT

# shellcheck shell=bash
# Runs commands in parallel: source it after steps/parse_options.sh, which sets nj and dry_run.
#
# The commands stop when the script is stopped. Trainings save a checkpoint on SIGTERM, so the same
# command continues them later.

: "${nj=1}" "${dry_run=false}"
[[ $nj =~ ^[1-9][0-9]*$ ]] || die "--nj '$nj' is not a number of jobs" "give 1 or more"

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

# run COMMAND...: run a command, or print it with --dry-run.
run() {
  if [[ $dry_run == true ]]; then
    printf '%q ' "$@" && echo
  else
    stoppable "$@"
  fi
}

# queue LABEL COMMAND...: run a command in parallel with others, at most nj at the same time. Its
# output lines start with the label.
queued=()
queue() {
  local label=$1
  shift
  if [[ $dry_run == true ]] || ((nj == 1)); then
    run "$@"
    return
  fi
  while (($(jobs -rp | wc -l) >= nj)); do wait -n || true; done
  "$@" > >(sed -u "s|^|$label: |") 2>&1 &
  queued+=($!)
}

# drain: wait for all queued commands. If one fails, the others still finish, then the script fails.
drain() {
  local pid failed=0
  for pid in "${queued[@]}"; do wait "$pid" || failed=$?; done
  queued=()
  ((failed == 0)) || exit "$failed"
}

trap 'kill "${queued[@]}" $running 2>/dev/null || true; wait; exit 143' TERM INT

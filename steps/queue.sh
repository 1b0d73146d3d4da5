# shellcheck shell=bash
# Commands side by side: source it after steps/parse_options.sh, of which it takes nj and dry_run.
#
# They are stopped with the script: trainings save on SIGTERM, so that the same command goes on.

: "${nj=1}" "${dry_run=false}"
[[ $nj =~ ^[1-9][0-9]*$ ]] || die "--nj '$nj' is no number of jobs" "give 1 or more"

# stoppable COMMAND...: run it; in the background, where a signal to this script need not wait for
# its end.
running=""
stoppable() {
  local status=0
  "$@" &
  running=$!
  wait "$running" || status=$?
  running=""
  return "$status"
}

# run COMMAND...: run it, or with --dry-run print it.
run() {
  if [[ $dry_run == true ]]; then
    printf '%q ' "$@" && echo
  else
    stoppable "$@"
  fi
}

# queue LABEL COMMAND...: run it beside others, at most nj at a time; its lines bear the label.
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

# drain: wait for all that is queued; the others finish when one fails, then the script fails.
drain() {
  local pid failed=0
  for pid in "${queued[@]}"; do wait "$pid" || failed=$?; done
  queued=()
  ((failed == 0)) || exit "$failed"
}

trap 'kill "${queued[@]}" $running 2>/dev/null || true; wait; exit 143' TERM INT

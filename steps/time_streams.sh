# shellcheck shell=bash
# Real-time factors of several models: source it in a script that has common, searches, seeds and
# test_sets.

# time_streams FAMILY...: of the first seed of each, in turn, so that a machine's noise falls on all.
# shellcheck disable=SC2154 # that script sets them
time_streams() {
  local family set search names=()
  for family in "$@"; do names+=(--name "${family}_seed${seeds%% *}"); done
  for set in "${test_sets[@]}"; do
    for search in $searches; do
      python -m asrlib bench streaming "${common[@]}" --test-set "$(basename "$set")" \
        --search "$search" "${names[@]}"
    done
  done
}

# shellcheck shell=bash
# Real-time factors of several models: source it after steps/run_name.sh, in a script that has
# common, searches, seeds and test_sets.

# time_streams FAMILY...: of the lowest seed of each, in turn, so that a machine's noise falls on all.
# shellcheck disable=SC2154 # that script sets them
time_streams() {
  local family set search lowest names=()
  lowest=$(tr ' ' '\n' <<<"$seeds" | sort -n | grep -m 1 .)
  for family in "$@"; do names+=(--name "$(run_name "$family" "" "$lowest")"); done
  for set in "${test_sets[@]}"; do
    for search in $searches; do
      python -m asrlib bench streaming "${common[@]}" --test-set "$(basename "$set")" \
        --search "$search" "${names[@]}"
    done
  done
}

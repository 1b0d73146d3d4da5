# shellcheck shell=bash
# Measures real-time factors of several models: source it after steps/run_name.sh, in a script that
# sets common, searches, seeds and test_sets.

# time_streams FAMILY...: measure the lowest seed of each model family. The models take turns, so
# that all are equally affected by other load on the machine.
# shellcheck disable=SC2154 # the calling script sets the variables
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

#!/usr/bin/env bash
# Stage 11: false alarms and misses of speaker verification, by the cohorts of every method.
#
# Options:
#   --name NAME         name of the speaker model's directory under exp/
#   --test-set SET      the embedded set (default: confirmation)
set -euo pipefail

name=""
test_set="confirmation"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
# shellcheck source=steps/known_cohorts.sh
. "$(dirname "${BASH_SOURCE[0]}")/known_cohorts.sh"
python -m asrlib score-verification --name "$name" --test-set "$test_set" --no-scores \
  "${cohorts[@]}" --out "$recipe_dir/exp/$name/verify_${test_set}_cohorts" "${stage_options[@]}"

#!/usr/bin/env bash
# Stage 11: score the decodes of one set by one model, by the cohorts of every method.
#
# Options:
#   --name NAME         name of the model's directory under exp/
#   --test-set SET      the decoded set (default: confirmation)
set -euo pipefail

name=""
test_set="confirmation"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
# shellcheck source=steps/known_cohorts.sh
. "$(dirname "${BASH_SOURCE[0]}")/known_cohorts.sh"
python -m asrlib score --name "$name" --test-set "$test_set" "${cohorts[@]}" "${stage_options[@]}"

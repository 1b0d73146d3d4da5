#!/usr/bin/env bash
# Stage 9: say of the bottom cohort of each method what its speakers share.
#
# Options:
#   --name NAME         the model whose errors are read: a directory under exp/
#   --test-set SET      the decoded set to look at (default: confirmation)
set -euo pipefail

name=""
test_set="confirmation"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
for file in "$recipe_dir"/exp/cohorts/*/definition.json; do
  [[ -f $file ]] || continue
  python -m asrlib cohorts explain --method "$(basename "$(dirname "$file")")" --name "$name" \
    --test-set "$test_set" "${recipe_options[@]}"
done

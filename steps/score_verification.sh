#!/usr/bin/env bash
# Stage 8: score speaker verification of embedded test sets, by group.
#
# Options:
#   --name NAME         name of the model's directory under exp/
#   --test-set "A B"    the embedded test set, or those that a list of trials spans (default: test)
#   --trials FILE       list of trials in VoxCeleb's format (default: the trials that the section
#                       verification makes of the set)
#   --dev-set SET       the embedded set that fixes the threshold (default: dev)
set -euo pipefail

name=""
test_set="test"
trials=""
dev_set="dev"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
options=(--name "$name" --dev-set "$dev_set" ${trials:+--trials "$trials"})
for set in $test_set; do options+=(--test-set "$set"); done
exec python -m asrlib score-verification "${options[@]}" "${stage_options[@]}"

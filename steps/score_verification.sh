#!/usr/bin/env bash
# Stage 8: score speaker verification of one embedded test set, by group.
#
# Options:
#   --name NAME         name of the model's directory under exp/
#   --test-set SET      the embedded test set (default: test)
#   --dev-set SET       the embedded set that fixes the threshold (default: dev)
set -euo pipefail

name=""
test_set="test"
dev_set="dev"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
exec python -m asrlib score-verification --name "$name" --test-set "$test_set" --dev-set "$dev_set" \
  "${stage_options[@]}"

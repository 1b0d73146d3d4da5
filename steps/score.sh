#!/usr/bin/env bash
# Stage 6: score one decoded test set.
#
# Options:
#   --name NAME         name of the model's directory under exp/
#   --test-set SET      name of a directory under data/ (default: test)
#   --search SEARCH     greedy, modified_beam or fast_beam (default: greedy)
#   --membership M      true, found or unknown: what the model was told of cohorts (default: unknown)
#   --cohorts DIR       score by cohort, too: DIR holds cohorts.jsonl
#   --tag TAG           name of the settings of decoding, for a language model or hotwords; without --search
#                       the one decoding of this name is scored
set -euo pipefail

name=""
test_set="test"
search=""
membership="unknown"
cohorts=""
tag=""
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
exec python -m asrlib score --name "$name" --test-set "$test_set" --membership "$membership" \
  ${search:+--search "$search"} ${cohorts:+--cohorts "$cohorts"} ${tag:+--tag "$tag"} "${stage_options[@]}"

#!/usr/bin/env bash
# Stage 5: decode one test set with one streaming model.
#
# Options:
#   --name NAME         name of the model's directory under exp/
#   --test-set SET      name of a directory under data/ (default: test)
#   --search SEARCH     greedy, modified_beam or fast_beam (default: greedy)
#   --membership M      true, found or unknown: what a model that knows cohorts is told of each speaker
#                       (default: unknown, and true if there are cohorts)
#   --cohorts DIR       directory of the cohorts, for --membership true and found
#   --tag TAG           name of the settings of decoding, for a language model or hotwords
set -euo pipefail

name=""
test_set="test"
search="greedy"
membership=""
cohorts=""
tag=""
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
told=()
[[ -z $membership ]] || told+=(--membership "$membership")
[[ -z $cohorts ]] || told+=(--cohorts "$cohorts")
[[ -z $tag ]] || told+=(--tag "$tag")
exec python -m asrlib decode --name "$name" --test-set "$test_set" --search "$search" "${told[@]}" "${stage_options[@]}"

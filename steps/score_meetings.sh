#!/usr/bin/env bash
# Stage 7, last part: score decoded mixtures (ORC-WER, cpWER, turn counts, turn-symbol latencies).
#
# Options:
#   --name NAME         name of the model's directory under exp/
#   --test-set SET      name of the mixtures' directory under data/ (default: mix_test)
#   --search SEARCH     greedy or modified_beam (default: greedy)
set -euo pipefail

name=""
test_set="mix_test"
search="greedy"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
exec python -m asrlib score-meetings --name "$name" --test-set "$test_set" --search "$search" "${stage_options[@]}"

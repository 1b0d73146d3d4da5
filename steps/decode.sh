#!/usr/bin/env bash
# Stage 5: streaming decoding of one test set with one model.
#
# Options:
#   --recipe-dir DIR    the recipe, e.g. egs/mini
#   --name NAME         the model's directory under exp/
#   --test-set SET      a directory under data/ (default: test)
#   --search SEARCH     greedy, modified_beam or fast_beam (default: greedy)
#   --set S.KEY=VALUE   override a configuration value; may be given again
#   --force             redo although complete and unchanged
set -euo pipefail

recipe_dir=""
force=false
name=""
test_set="test"
search="greedy"
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
[[ -n $name ]] || die "no --name" "choose a directory under $recipe_dir/exp"
exec python -m asrlib decode --name "$name" --test-set "$test_set" --search "$search" "${stage_options[@]}"

#!/usr/bin/env bash
# Stage 8: embed the utterances and speakers of one set with one speaker model.
#
# Options:
#   --name NAME         name of the model's directory under exp/
#   --set-name SET      name of a directory under data/ (default: test)
set -euo pipefail

name=""
set_name="test"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
exec python -m asrlib embed --name "$name" --set-name "$set_name" "${stage_options[@]}"

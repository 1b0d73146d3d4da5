#!/usr/bin/env bash
# Stage 1: run the recipe's local/raw.*, which writes tables of raw utterances, then write cuts, the
# speaker table and the quarantine list.
#
# Options:
#   --recipe NAME       recipe whose local/raw.* is used (default: that of --recipe-dir)
set -euo pipefail

recipe=""
nj=2
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

[[ -d $recipe_dir ]] || die "$recipe_dir: no such recipe directory" "choose a directory under egs/"
recipe=${recipe:-$(basename "$(realpath "$recipe_dir")")}
raw=$(dirname "${BASH_SOURCE[0]}")/../egs/$recipe/local/raw
if [[ -f $raw.sh ]]; then
  "$raw.sh" --recipe-dir "$recipe_dir" "${overrides[@]}"
elif [[ -f $raw.py ]]; then
  python "$raw.py" --recipe-dir "$recipe_dir"
else
  die "$raw.sh and $raw.py do not exist" "give a recipe that has one of them: --recipe NAME"
fi
exec python -m asrlib manifests --nj "$nj" "${stage_options[@]}"

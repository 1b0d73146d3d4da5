#!/usr/bin/env bash
# Stage 1: raw utterance tables by the recipe's own local/raw.*, then cuts, speakers, quarantine.
#
# Options:
#   --recipe NAME       whose local/raw.* to use (default: that of --recipe-dir)
set -euo pipefail

recipe=""
nj=2
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

[[ -d $recipe_dir ]] || die "$recipe_dir: no such recipe directory" "choose one under egs/"
recipe=${recipe:-$(basename "$(realpath "$recipe_dir")")}
raw=$(dirname "${BASH_SOURCE[0]}")/../egs/$recipe/local/raw
if [[ -f $raw.sh ]]; then
  "$raw.sh" --recipe-dir "$recipe_dir"
elif [[ -f $raw.py ]]; then
  python "$raw.py" --recipe-dir "$recipe_dir"
else
  die "no $raw.sh or $raw.py" "name a recipe that has one: --recipe NAME"
fi
exec python -m asrlib manifests --nj "$nj" "${stage_options[@]}"

#!/usr/bin/env bash
# Stage 7, first part: test sets of overlapping talkers, mixed from data/dev and data/test, or taken
# from real recordings by the recipe's own local/mixtures.py.
#
# Options:
#   --recipe NAME       whose local/mixtures.py to use (default: that of --recipe-dir)
set -euo pipefail

recipe=""
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
recipe=${recipe:-$(basename "$(realpath "$recipe_dir")")}
own=$(dirname "${BASH_SOURCE[0]}")/../egs/$recipe/local/mixtures.py
if [[ -f $own ]]; then
  exec python "$own" "${stage_options[@]}"
fi
exec python -m asrlib mixtures "${stage_options[@]}"

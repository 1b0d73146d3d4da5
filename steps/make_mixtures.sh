#!/usr/bin/env bash
# Stage 7, first part: create test sets of overlapping talkers, either by mixing utterances of
# data/dev and data/test or, if the recipe has a local/mixtures.py, from real recordings.
#
# Options:
#   --recipe NAME       recipe whose local/mixtures.py is used (default: that of --recipe-dir)
set -euo pipefail

recipe=""
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
recipe=${recipe:-$(basename "$(realpath "$recipe_dir")")}
own=$(dirname "${BASH_SOURCE[0]}")/../egs/$recipe/local/mixtures.py
if [[ -f $own ]]; then
  exec python "$own" "${recipe_options[@]}"
fi
exec python -m asrlib mixtures "${stage_options[@]}"

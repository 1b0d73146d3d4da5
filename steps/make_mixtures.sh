#!/usr/bin/env bash
# Stage 7, first part: test sets of overlapping talkers, mixed from data/dev and data/test, or taken
# from real recordings by the recipe's own local/mixtures.py.
#
# Options:
#   --recipe-dir DIR    the recipe, e.g. egs/mini
#   --recipe NAME       whose local/mixtures.py to use (default: that of --recipe-dir)
#   --set S.KEY=VALUE   override a configuration value, e.g. mixtures.seed=2; may be given again
#   --force             redo although complete and unchanged
set -euo pipefail

recipe_dir=""
recipe=""
force=false
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
recipe=${recipe:-$(basename "$(realpath "$recipe_dir")")}
own=$(dirname "${BASH_SOURCE[0]}")/../egs/$recipe/local/mixtures.py
if [[ -f $own ]]; then
  exec python "$own" "${stage_options[@]}"
fi
exec python -m asrlib mixtures "${stage_options[@]}"

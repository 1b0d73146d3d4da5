#!/usr/bin/env bash
# Stage 7, first part: test sets of overlapping talkers from data/dev and data/test.
#
# Options:
#   --recipe-dir DIR    the recipe, e.g. egs/mini
#   --set S.KEY=VALUE   override a configuration value, e.g. mixtures.seed=2; may be given again
#   --force             redo although complete and unchanged
set -euo pipefail

recipe_dir=""
force=false
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python -m asrlib mixtures "${stage_options[@]}"

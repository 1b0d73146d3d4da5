#!/usr/bin/env bash
# Stage 13: RESULTS.md of the recipe and the page exp/report.html, from what lies in exp/.
#
# Options:
#   --recipe-dir DIR    the recipe, e.g. egs/mini
#   --set S.KEY=VALUE   override a configuration value; may be given again
#   --force             redo although complete and unchanged
set -euo pipefail

recipe_dir=""
force=false

# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"

exec python -m asrlib results "${stage_options[@]}"

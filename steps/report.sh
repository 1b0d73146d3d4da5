#!/usr/bin/env bash
# Stage 13: write RESULTS.md from results/, and the page exp/report.html from exp/.
set -euo pipefail

# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

exec python -m asrlib results "${recipe_options[@]}"

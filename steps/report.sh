#!/usr/bin/env bash
# Stage 13: write the recipe's RESULTS.md and the page exp/report.html from the results in exp/.
set -euo pipefail

# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

exec python -m asrlib results "${stage_options[@]}"

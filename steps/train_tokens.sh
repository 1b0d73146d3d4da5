#!/usr/bin/env bash
# Stage 3: train the sentencepiece model on the training transcripts.
set -euo pipefail

# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"

exec python -m asrlib tokens "${stage_options[@]}"

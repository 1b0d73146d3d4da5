#!/usr/bin/env bash
# Stage 2: compute kaldifeat features of all sets, and the global mean and variance of train.
set -euo pipefail

nj=2
engine=""
retries=""
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
# shellcheck source=steps/engine.sh
. "$(dirname "${BASH_SOURCE[0]}")/engine.sh"

job_options 2
exec python -m asrlib fbank "${job_options[@]}" "${stage_options[@]}"

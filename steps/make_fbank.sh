#!/usr/bin/env bash
# Stage 2: compute kaldifeat features of all sets, and the global mean and variance of train.
set -euo pipefail

nj=2
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
# shellcheck source=cmd.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cmd.sh"

exec python -m asrlib fbank --nj "$nj" --engine "$engine" \
  "${engine_options[@]/#/--engine-option=}" "${stage_options[@]}"

#!/usr/bin/env bash
# Stage 2: kaldifeat features of every set, and the global mean and variance of train.
#
# Options:
#   --recipe-dir DIR    the recipe, e.g. egs/mini
#   --nj N              parallel jobs, run by the engine of cmd.sh (default: 2)
#   --set S.KEY=VALUE   override a configuration value; may be given again
#   --force             redo although complete and unchanged
set -euo pipefail

recipe_dir=""
force=false
nj=2
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=cmd.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cmd.sh"

exec python -m asrlib fbank --nj "$nj" --engine "$engine" "${stage_options[@]}"

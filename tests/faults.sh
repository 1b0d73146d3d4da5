#!/usr/bin/env bash
# Kill every stage of the pipeline at random moments, run it again, and compare the hashes of the files
# that it leaves with those of an uninterrupted run. The recipe is a very small mini.
#
# After the kills come other faults: a full disk and a read-only directory (as root, which may mount a
# small tmpfs), damaged checkpoints, files dated in the future and the past, two runs at once. It
# prints a table and fails if anything differs, is lost or is not clearly told.
#
# Options:
#   --kills N           number of kills: two of every stage, the others of the quick stages
#                       (default: 120)
#   --seed N            seed of the moments (default: 1)
#   --stages "A B"      stages to kill: corpus manifests fbank tokens train decode score mixtures
#                       speakers cohorts mitigate fairness plan publish report (default: all, and
#                       the other faults, too)
#   --publish           write the figures to egs/mini/results/trust/, too
set -euo pipefail

kills=120
seed=1
stages=""
publish=false
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/../steps/parse_options.sh"
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
options=()
if [[ $publish == true ]]; then options+=(--publish); fi
for stage in $stages; do options+=(--stage "$stage"); done
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
exec python "$PROJECT_DIR/tests/faults_command.py" --kills "$kills" --seed "$seed" "${options[@]}"

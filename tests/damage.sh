#!/usr/bin/env bash
# Feed every kind of damaged input to the command that reads it: audio, manifests, Kaldi tables,
# hypotheses, speaker tables, cohort files, language models, hotwords, configuration, checkpoints,
# records. It prints a table and fails if a command crashes, if an error does not name the file, if a
# good utterance is lost, or if a file is written where none belongs.
#
# Options:
#   --every N           take every Nth kind only (default: 1)
#   --publish           write the figures to egs/mini/results/trust/, too
set -euo pipefail

every=1
publish=false
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/../steps/parse_options.sh"
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
options=()
if [[ $publish == true ]]; then options+=(--publish); fi
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
exec python "$PROJECT_DIR/tests/damage_command.py" --every "$every" "${options[@]}"

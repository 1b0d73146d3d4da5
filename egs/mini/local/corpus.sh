#!/usr/bin/env bash
# Stage 0 of mini: generate the synthetic corpus (conf/corpus.yaml describes speakers and speech).
#
# Speakers that exist already and are unchanged are kept, so that a killed run can be continued.
#
# Options:
#   --corpus-dir DIR    directory for the corpus (default: corpus/ of the recipe)
#   --nj N              number of jobs (default: 2); the bytes do not depend on it
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

# shellcheck source=steps/engine.sh
. "$PROJECT_DIR/steps/engine.sh"

job_options 0
exec python "$here/local/generate.py" --corpus-dir "$corpus_dir" "${job_options[@]}" \
  "${stage_options[@]}"

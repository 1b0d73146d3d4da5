#!/usr/bin/env bash
# Stage 0 of mini: generate the synthetic corpus (conf/corpus.yaml says who speaks and how).
#
# What is there already and unchanged is kept: a killed run continues.
#
# Options:
#   --corpus-dir DIR    where to generate it (default: corpus/ of the recipe)
#   --nj N              processes (default: 2); the bytes do not depend on it
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

exec python "$here/local/generate.py" --corpus-dir "$corpus_dir" --nj "$nj" "${stage_options[@]}"

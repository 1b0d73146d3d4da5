#!/usr/bin/env bash
# Stage 0 of mini: generate the synthetic corpus (conf/corpus.yaml says who speaks and how).
#
# What is there already and unchanged is kept: a killed run continues.
#
# Options:
#   --recipe-dir DIR    the recipe that will use it (default: this one)
#   --corpus-dir DIR    where to generate it (default: corpus/ of the recipe)
#   --nj N              processes (default: 2); the bytes do not depend on it
#   --set S.KEY=VALUE   override a configuration value, e.g. corpus.scale=0.1; may be given again
#   --force             generate everything anew
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$here
corpus_dir=""
nj=2
force=false
# shellcheck source=steps/parse_options.sh
. "$here/../../steps/parse_options.sh"
# shellcheck source=path.sh
. "$here/../../path.sh"

exec python "$here/local/generate.py" --corpus-dir "$corpus_dir" --nj "$nj" "${stage_options[@]}"

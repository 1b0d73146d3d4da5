#!/usr/bin/env bash
# Stage 0 of kaldi_dir: find your Kaldi data directories.
#
# Options:
#   --recipe-dir DIR    the recipe that will use it (default: this one)
#   --corpus-dir DIR    a directory with a Kaldi data directory for every set: train, dev, test
#                       (and more tests, test_*); needed the first time
#   --nj N              not used here
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$here
corpus_dir=""
# shellcheck disable=SC2034  # every stage takes it
nj=""
# shellcheck source=steps/parse_options.sh
. "$here/../../steps/parse_options.sh"
# shellcheck source=path.sh
. "$here/../../path.sh"

exec python "$here/../../local/corpus.py" --title "Kaldi data directories" \
  --recipe-dir "$recipe_dir" --corpus-dir "$corpus_dir" --home "$here" --probe train/wav.scp

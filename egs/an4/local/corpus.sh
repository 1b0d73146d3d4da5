#!/usr/bin/env bash
# Stage 0 of an4: find CMU's AN4, or download it (64 MB).
#
# Options:
#   --recipe-dir DIR    the recipe that will use it (default: this one)
#   --corpus-dir DIR    an existing copy (default: where it was found before; else it is downloaded
#                       into corpus/ here)
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

exec python "$here/../../local/corpus.py" --title "AN4" \
  --recipe-dir "$recipe_dir" --corpus-dir "$corpus_dir" --home "$here" \
  --probe etc/an4_train.fileids --inside an4 \
  --archive "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"

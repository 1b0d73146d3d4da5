#!/usr/bin/env bash
# Stage 0 of speechocean762: find speechocean762, or download it (OpenSLR 101, 520 MB).
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

exec python "$here/../../local/corpus.py" --title "speechocean762" \
  --recipe-dir "$recipe_dir" --corpus-dir "$corpus_dir" --home "$here" \
  --probe train/wav.scp --inside speechocean762 \
  --archive "https://www.openslr.org/resources/101/speechocean762.tar.gz"

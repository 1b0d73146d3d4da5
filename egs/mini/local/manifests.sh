#!/usr/bin/env bash
# Stage 1 of mini: raw utterance tables from the corpus, then cuts, speakers and quarantine.
#
# Options:
#   --recipe-dir DIR    the recipe (default: this one)
#   --nj N              files decoded at a time (default: 2)
#   --set S.KEY=VALUE   override a configuration value; may be given again
#   --force             redo although complete and unchanged
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$here
nj=2
force=false
# shellcheck source=steps/parse_options.sh
. "$here/../../steps/parse_options.sh"
# shellcheck source=path.sh
. "$here/../../path.sh"

python "$here/local/raw.py" --recipe-dir "$recipe_dir"
exec python -m asrlib manifests --nj "$nj" "${stage_options[@]}"

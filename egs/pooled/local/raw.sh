#!/usr/bin/env bash
# Make the raw utterance tables of pooled: prepare each member corpus, then pool the tables.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$here
# shellcheck source=steps/stage.sh
. "$here/../../steps/stage.sh"

parts=$recipe_dir/data/parts
python "$here/../speechocean762/local/raw.py" --recipe-dir "$parts/speechocean762"
python "$here/../an4/local/raw.py" --recipe-dir "$parts/an4"
python "$here/../librispeech/local/raw.py" --recipe-dir "$parts/librispeech" --train-only
exec python "$here/local/pool.py" --recipe-dir "$recipe_dir"

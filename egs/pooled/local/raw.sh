#!/usr/bin/env bash
# Make the raw utterance tables of pooled: prepare each member corpus, then pool the tables.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$here
# shellcheck source=steps/stage.sh
. "$here/../../steps/stage.sh"

members=$(python "$here/local/members.py" --recipe-dir "$recipe_dir" "${overrides[@]}")
for member in $members; do
  options=(--recipe-dir "$recipe_dir/data/parts/$member")
  [[ $member != librispeech ]] || options+=(--train-only)
  python "$here/../$member/local/raw.py" "${options[@]}"
done
exec python "$here/local/pool.py" --recipe-dir "$recipe_dir" "${overrides[@]}"

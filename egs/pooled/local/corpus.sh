#!/usr/bin/env bash
# Stage 0 of pooled: find or download the members that conf/pool.yaml names.
#
# Options:
#   --corpus-dir DIR    a directory that contains a directory of each member, such as an4/
#                       (default: where the members' recipes found or downloaded them; else they are
#                       downloaded, except commonvoice)
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

members=$(python "$here/local/members.py" --recipe-dir "$recipe_dir" "${overrides[@]}")
for member in $members; do
  options=(--recipe-dir "$recipe_dir/data/parts/$member")
  if [[ -n $corpus_dir ]]; then options+=(--corpus-dir "$corpus_dir/$member"); fi
  if [[ $member == librispeech ]]; then options+=(--parts train-clean-100); fi
  "$here/../$member/local/corpus.sh" "${options[@]}"
done

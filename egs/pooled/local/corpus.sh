#!/usr/bin/env bash
# Stage 0 of pooled: find or download speechocean762, AN4 and LibriSpeech train-clean-100.
#
# Options:
#   --corpus-dir DIR    a directory that contains an4/, speechocean762/ and librispeech/
#                       (default: where those recipes found or downloaded them; else they are
#                       downloaded)
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

for member in speechocean762 an4 librispeech; do
  options=(--recipe-dir "$recipe_dir/data/parts/$member")
  if [[ -n $corpus_dir ]]; then options+=(--corpus-dir "$corpus_dir/$member"); fi
  if [[ $member == librispeech ]]; then options+=(--parts train-clean-100); fi
  "$here/../$member/local/corpus.sh" "${options[@]}"
done

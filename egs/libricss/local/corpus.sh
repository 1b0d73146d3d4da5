#!/usr/bin/env bash
# Stage 0 of libricss: find LibriCSS, and find or download LibriSpeech, which it trains on.
#
# Options:
#   --corpus-dir DIR    a directory with libricss/ (for_release/ in it) and librispeech/ in it
#                       (default: what was found before; LibriCSS in corpus/ here; LibriSpeech as
#                       its own recipe finds or downloads it)
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

# LibriCSS lies on Google Drive, behind a page that no checksum can follow: no download here.
python "$PROJECT_DIR/local/corpus.py" --title LibriCSS --recipe-dir "$recipe_dir/data/parts/libricss" \
  --corpus-dir "${corpus_dir:+$corpus_dir/libricss}" --home "$here" \
  --probe OV10 --probe 0L --inside for_release
exec "$here/../librispeech/local/corpus.sh" --recipe-dir "$recipe_dir" --parts train-clean-100 \
  ${corpus_dir:+--corpus-dir "$corpus_dir/librispeech"}

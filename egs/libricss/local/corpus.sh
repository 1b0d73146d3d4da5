#!/usr/bin/env bash
# Stage 0 of libricss: find LibriCSS, and find or download LibriSpeech, the training data.
#
# Options:
#   --corpus-dir DIR    a directory that contains libricss/ (with for_release/) and librispeech/
#                       (default: where they were found before; else LibriCSS in corpus/ of this
#                       recipe, and LibriSpeech as its own recipe finds or downloads it)
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

# LibriCSS is not downloaded: Google Drive serves it behind a page, so no checksum can verify it.
python "$PROJECT_DIR/local/corpus.py" --title LibriCSS --recipe-dir "$recipe_dir/data/parts/libricss" \
  --corpus-dir "${corpus_dir:+$corpus_dir/libricss}" --home "$here" \
  --probe OV10 --probe 0L --inside for_release
exec "$here/../librispeech/local/corpus.sh" --recipe-dir "$recipe_dir" --parts train-clean-100 \
  ${corpus_dir:+--corpus-dir "$corpus_dir/librispeech"}

#!/usr/bin/env bash
# Make the raw utterance tables of libricss: those of LibriSpeech, its training data.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$here
# shellcheck source=steps/stage.sh
. "$here/../../steps/stage.sh"

exec python "$here/../librispeech/local/raw.py" --recipe-dir "$recipe_dir"

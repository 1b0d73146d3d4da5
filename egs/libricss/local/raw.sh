#!/usr/bin/env bash
# Raw utterance tables of libricss: those of LibriSpeech, on whose utterances it trains.
#
# Options:
#   --recipe-dir DIR    the recipe (default: this one)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$here
# shellcheck source=steps/parse_options.sh
. "$here/../../steps/parse_options.sh"
# shellcheck source=path.sh
. "$here/../../path.sh"

exec python "$here/../librispeech/local/raw.py" --recipe-dir "$recipe_dir"

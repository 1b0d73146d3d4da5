#!/usr/bin/env bash
# Train AN4's letter language model from public names, and the model that LODR subtracts.
#
# Writes data/lm/names.txt (made-up utterances), data/lm/lm.arpa (order 4, of these and of the
# training transcripts) and data/lm/lodr.arpa (order 2, of the training transcripts), and shows
# their perplexities on dev. Stages 1 and 3 come first. `python -m asrlib plan lm` then chooses the
# weights on dev and decodes the test set. Recipes whose corpora include AN4 use it, too (--recipe-dir).
#
# Options:
#   --count N           number of made-up utterances (default: 300000)
#   --with-train N      how many times lm.arpa counts the training transcripts (default: 20)
set -euo pipefail

count=300000
with_train=20
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$here
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../steps/stage.sh"

python "$here/local/lm_text.py" --recipe-dir "$recipe_dir" --count "$count"
python -m asrlib train-lm --name lodr --order 2 --judge dev "${recipe_options[@]}"
python -m asrlib train-lm --name lm --order 4 --text "$recipe_dir/data/lm/names.txt" \
  --with-train "$with_train" --judge dev "${recipe_options[@]}"

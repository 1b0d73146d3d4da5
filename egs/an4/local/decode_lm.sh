#!/usr/bin/env bash
# Decode AN4's test set with the letter language model, its weights chosen on dev.
#
# Stages 0 to 4 come first (egs/an4/run.sh). The language models are trained if they are missing
# (local/train_lm.sh). Then beam search is tried on dev with several weights of the language model,
# of the subtracted internal one (LODR) and of the blank penalty, one after the other, and the test
# set is decoded and scored once with the best. On one core that takes 10 to 30 minutes.
#
# Options:
#   --name NAME         name of the model's directory under exp/ (default: conv_rnnt)
set -euo pipefail

name=conv_rnnt
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe_dir=$here
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../steps/stage.sh"

[[ -s $recipe_dir/data/lm/lm.arpa && -s $recipe_dir/data/lm/lodr.arpa ]] ||
  "$here/local/train_lm.sh" --recipe-dir "$recipe_dir"
common=(--name "$name" --tag lm "${stage_options[@]}" --set decode.lm.path=data/lm/lm.arpa
  --set decode.lm.lodr_path=data/lm/lodr.arpa --set decode.modified_beam.beam=8)
# As in conf/plans/lm.yaml, by which several seeds are decoded.
python -m asrlib tune-decode "${common[@]}" \
  --try 'decode.lm.scale=[0.2,0.0,0.1,0.3,0.5,0.7]' \
  --try 'decode.lm.lodr_scale=[0.1,0.0,0.05,0.2,0.3]' \
  --try 'decode.blank_penalty=[0.0,-0.5,0.5,1.0,2.0]'
python -m asrlib decode "${common[@]}" --tuned
python -m asrlib score --name "$name" --tag lm "${stage_options[@]}"

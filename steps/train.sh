#!/usr/bin/env bash
# Stage 4: train one model; continues where a killed training stopped.
#
# Options:
#   --model MODEL       a name of conf/model/*.yaml
#   --name NAME         the directory under exp/ (default: the model's name)
#   --init NAME         the directory under exp/ of a finished model to start from: of the same model;
#                       of two talkers also its single-channel path; of an amortized Transformer also
#                       amortized_full
set -euo pipefail

model=""
name=""
init=""
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $model ]] || die "no --model" "choose a name of conf/model/*.yaml"
[[ -z $init ]] || stage_options+=(--init "$recipe_dir/exp/$init")
exec python -m asrlib train --model "$model" ${name:+--name "$name"} "${stage_options[@]}"

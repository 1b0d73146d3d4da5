#!/usr/bin/env bash
# Stage 4: train one model. A killed training continues where it stopped.
#
# Options:
#   --model MODEL       name of a file of conf/model, without .yaml
#   --name NAME         name of the directory under exp/ (default: the model's name)
#   --init NAME         directory under exp/ of a finished model whose weights the training starts
#                       from: the same model, for a model of two talkers also its single-channel
#                       path, for an amortized Transformer also amortized_full
#   --ranks N           processes that train it together (default: 1)
set -euo pipefail

model=""
name=""
init=""
ranks=1
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $model ]] || die "--model is missing" "give the name of a file of conf/model, without .yaml"
[[ -z $init ]] || stage_options+=(--init "$recipe_dir/exp/$init")
((ranks == 1)) || stage_options+=(--ranks "$ranks")
exec python -m asrlib train --model "$model" ${name:+--name "$name"} "${stage_options[@]}"

#!/usr/bin/env bash
# Stage 4: train one model; continues where a killed training stopped.
#
# Options:
#   --model MODEL       a name of conf/model/*.yaml
#   --name NAME         the directory under exp/ (default: the model's name)
set -euo pipefail

model=""
name=""
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $model ]] || die "no --model" "choose a name of conf/model/*.yaml"
exec python -m asrlib train --model "$model" --name "${name:-${model//\//_}}" "${stage_options[@]}"

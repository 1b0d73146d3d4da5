#!/usr/bin/env bash
# Stage 4: train one model; continues where a killed training stopped.
#
# Options:
#   --recipe-dir DIR    the recipe, e.g. egs/mini
#   --model MODEL       a name of conf/model/*.yaml
#   --name NAME         the directory under exp/ (default: the model's name)
#   --set S.KEY=VALUE   override a configuration value; may be given again
#   --force             redo although complete and unchanged
set -euo pipefail

recipe_dir=""
force=false
model=""
name=""
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
[[ -n $model ]] || die "no --model" "choose a name of conf/model/*.yaml"
exec python -m asrlib train --model "$model" --name "${name:-${model//\//_}}" "${stage_options[@]}"

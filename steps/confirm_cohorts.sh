#!/usr/bin/env bash
# Stage 9: judge the cohorts of all methods, once, on the confirmation speakers.
#
# Options:
#   --name NAME         the model whose errors are read: a directory under exp/
#   --set-name SET      the decoded set they were found on (default: discovery)
#   --confirm SET       the decoded set they are judged on (default: confirmation)
set -euo pipefail

name=""
set_name="discovery"
confirm="confirmation"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
exec python -m asrlib cohorts confirm --name "$name" --set-name "$set_name" --confirm "$confirm" \
  "${recipe_options[@]}"

#!/usr/bin/env bash
# Stage 9: find cohorts of speakers with higher error rates, by every method. Speakers of the training
# set get cohorts as well, without a look at their errors.
#
# Options:
#   --name NAME         the model whose errors are read: a directory under exp/
#   --set-name SET      the decoded set to find them on (default: discovery)
#   --confirm SET       the set whose speakers they are judged on; the same set: half of its speakers
#                       (default: confirmation)
#   --methods "A B"     names of methods, or all of conf/cohorts.yaml (default: all)
#   --speaker-model NAME  directory under exp/ with the embeddings of stage 8; without them, cohorts
#                       are not found automatically
set -euo pipefail

name=""
set_name="discovery"
confirm="confirmation"
methods="all"
speaker_model=""
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"
options=(--name "$name" --set-name "$set_name" --confirm "$confirm" --assign train)
[[ $methods == all ]] || for method in $methods; do options+=(--method "$method"); done
voices=()
for set in $(printf '%s\n' "$set_name" "$confirm" train | sort -u); do
  file=$recipe_dir/exp/$speaker_model/embeddings_$set/utterances.npz
  [[ -z $speaker_model || ! -f $file ]] || voices+=(--embeddings "$file")
done
((${#voices[@]} > 0)) ||
  echo "no embeddings of stage 8: the automatic methods are left out"
exec python -m asrlib cohorts find "${options[@]}" "${voices[@]}" "${stage_options[@]}"

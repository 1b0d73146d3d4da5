# shellcheck shell=bash disable=SC2034
# Sets `cohorts` to options that name the cohorts of every method. Source it after steps/stage.sh; where
# no method found cohorts, the script ends here.

: "${recipe_dir=}"
cohorts=()
for file in "$recipe_dir"/exp/cohorts/*/cohorts.jsonl; do
  [[ ! -f $file ]] || cohorts+=(--cohorts "$(dirname "$file")")
done
if ((${#cohorts[@]} == 0)); then
  echo "no cohorts were found: nothing to score"
  exit
fi

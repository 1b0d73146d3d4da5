# shellcheck shell=bash
# What the scripts of stages 10 and 11 share about the plan of mitigations: source it. It parses the
# options, chooses the cohorts, and fills the array `plan_options`. If no cohorts were found, it ends
# the script with a sentence.

name=""
cohorts="automatic scan tree metadata"
rows="all"
seeds=""
found_on="discovery"
test_set="confirmation"
# shellcheck disable=SC2034 # the script that sources this one uses it
plan="mitigation"
# shellcheck source=steps/stage.sh
. "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
[[ -n $name ]] || die "--name is missing" "give the name of a directory under $recipe_dir/exp"

chosen=""
for method in $cohorts; do
  if [[ -z $chosen && -f $recipe_dir/exp/cohorts/$method/cohorts.jsonl ]]; then chosen=$method; fi
done
if [[ -z $chosen ]]; then
  echo "none of the methods $cohorts found cohorts: nothing to mitigate"
  exit
fi

# list WORD...: print a list as --set takes it.
list() {
  local IFS=,
  echo "[$*]"
}

plan_options=(--start "$name" --cohorts "$chosen" "${recipe_options[@]}")
plan_options+=(--set "plans.test_sets=[$test_set]")
# shellcheck disable=SC2086 # words of a list
[[ $rows == all ]] || plan_options+=(--set "plans.only=$(list $rows)")
# shellcheck disable=SC2086
[[ -z $seeds ]] || plan_options+=(--set "plans.factors={train.seed: $(list $seeds)}")
# Speakers of a test set that is divided in halves are not trained on.
if [[ $found_on == "$test_set" ]]; then plan_options+=(--set "mitigation.cohorts.sets=[train]"); fi

# shellcheck shell=bash disable=SC2154
# Checks the options of run.sh before anything runs, and sets those that a recipe has in conf/run.conf:
# run.sh sources it after steps/parse_options.sh.

# check_words WHAT WORDS KNOWN: each of the words must be among the known ones.
check_words() {
  local word
  for word in $2; do
    [[ " $3 " == *" $word "* ]] || die "no $1 '$word'" "choose among ${3// /, }"
  done
}

# rows: print the names of the rows of the plan of mitigations; those of the recipe replace others.
rows() {
  local file names="" known=""
  for file in conf/plans/mitigation.yaml "$recipe_dir/conf/plans/mitigation.yaml"; do
    [[ ! -f $file ]] || names=$(
      awk '/^  (- |  )name: / { all = all sep $NF; sep = " " } END { print all }' "$file"
    )
    [[ -z $names ]] || known=$names
  done
  echo "$known"
}

stages="0 1 2 3 4 5 6 7 8 9 10 11 13"
for number in "$stage" "$stop_stage"; do
  [[ $number =~ ^[0-9]+$ && " $stages " == *" $number "* ]] ||
    die "no stage '$number'" "choose among $stages; ./run.sh --help explains them"
done
((stage <= stop_stage)) ||
  die "--stage $stage comes after --stop-stage $stop_stage" "swap the two numbers"
[[ $ranks =~ ^[1-9][0-9]*$ ]] || die "--ranks '$ranks' is no number of processes" "give 1 or more"
recipe_dir=egs/$recipe
[[ -d $recipe_dir/local ]] ||
  die "no recipe '$recipe'" "choose among $(cd egs && echo *)"
check_words search "$searches" "greedy modified_beam fast_beam"
[[ -z $tag || $tag =~ ^[A-Za-z0-9.+-]+$ ]] ||
  die "--tag '$tag' cannot be part of a directory name" "use only letters, digits, '.', '+' and '-'"
# What a recipe runs by default beyond recognition, and what it leaves out.
# shellcheck disable=SC1091
if [[ -f $recipe_dir/conf/run.conf ]]; then . "$recipe_dir/conf/run.conf"; fi
if ((stage == 8)); then speaker_models=${speaker_models:-speaker/ecapa speaker/ecapa/pairwise}; fi
if ((9 <= stage && stage <= 11)); then cohort_methods=${cohort_methods:-all}; fi
if ((stage == 10)); then mitigations=${mitigations:-all}; fi
if ((stage == 7)); then talker_models=${talker_models:-sts}; fi
if [[ $skip_stages == none ]]; then skip_stages=""; fi
check_words stage "$skip_stages" "$stages"
left=0
for number in $stages; do
  if ((stage <= number && number <= stop_stage)) && [[ " $skip_stages " != *" $number "* ]]; then
    left=$((left + 1))
  fi
done
((left > 0)) || die "stages $stage to $stop_stage: all are among those to skip, $skip_stages" \
  "choose other stages, or give --skip-stages none to run them"
if [[ -n $talker_models && " $searches " == *" fast_beam "* ]]; then
  die "--searches fast_beam: does not support the turns of stage 7" "remove it, or skip stage 7"
fi
for model in $models $talker_models $speaker_models; do
  [[ -f conf/model/$model.yaml || -f $recipe_dir/conf/model/$model.yaml ]] ||
    die "no model '$model'" "give the name of a file of conf/model, without .yaml"
done
methods="tree scan geodemographic automatic automatic_measured metadata"
[[ $cohort_methods == all ]] || check_words "cohort method" "$cohort_methods" "$methods"
check_words "cohort method" "$mitigate_for" "$methods"
# The rows may come from the command line, too; then the plan itself checks them.
[[ $mitigations == all || "${overrides[*]}" == *plans.variants* ]] ||
  check_words "row of mitigations" "$mitigations" "$(rows)"
unset number left methods

#!/usr/bin/env bash
# Fairstream trains streaming speech recognisers and shows for which speakers they fail.
#
# Usage: ./run.sh [options]          run all stages on the embedded corpus
#        egs/an4/run.sh [options]    run another recipe
#
# Stages:
#    0  corpus     check the installation; generate, find or download the corpus
#    1  manifests  decode every file once, quarantine the bad, write cuts and the speaker table
#    2  fbank      kaldifeat features; global mean and variance
#    3  tokens     the sentencepiece model
#    4  train      every model of --models, for every seed of --seeds
#    5  decode     streaming decoding of every test set, with every search of --searches
#    6  score      WER with intervals, alignments, latency, cost
#    7  talkers    mixtures of two talkers; train, decode, score the models of --talker-models; runs
#                  only when asked for, by --stage 7 or --talker-models
#    8  speakers   train the speaker models of --speaker-models; embed dev, test and the sets of
#                  stage 9; verification errors by group
#    9  cohorts    decode discovery and confirmation; find cohorts on the first, judge them on the
#                  second
#   10  mitigate   the rows of --mitigations, from one trained model for the same updates; decode them
#   11  fairness   error rates, delays and verification by cohort; mitigations before and after
#   13  report     RESULTS.md and one self-contained page, exp/report.html
#
# A stage is skipped if it is complete and its inputs are unchanged. A killed stage continues where
# it stopped.
#
# Options:
#   --recipe NAME       a directory under egs/ (default: mini)
#   --stage N           first stage to run (default: 0)
#   --stop-stage N      last stage to run (default: 13)
#   --skip-stages "A B" stages not to run, or none (default: those of the recipe's conf/run.conf)
#   --models "A B"      names of conf/model/*.yaml (default: "lstm conv_rnnt")
#   --talker-models "A B"  models of stage 7, e.g. "mt_rnnt sts/plain sts/fast_emit sts" for the
#                       rows of the paper's table (default, with --stage 7: "sts")
#   --speaker-models "A B"  models of stage 8 (default: those of the recipe's conf/run.conf; with
#                       --stage 8: "speaker/ecapa speaker/ecapa/pairwise")
#   --trials "A B"      names of data/trials/*.txt, lists of trials that span the test sets, by which
#                       stage 8 scores instead of by set (default: all of them, if there are any)
#   --cohort-methods "A B"  methods of stage 9: tree, scan, geodemographic, automatic,
#                       automatic_measured, metadata; or all of conf/cohorts.yaml (default: those of
#                       the recipe's conf/run.conf; with --stage 9, 10 or 11: all). Cohorts are found
#                       by the errors of the first of --models
#   --mitigations "A B" rows of conf/plans/mitigation.yaml, or all (default: those of conf/run.conf;
#                       with --stage 10: all)
#   --mitigate-for "A B"  the first of these methods that found cohorts says for whom stage 10 is
#                       (default: "automatic scan tree metadata")
#   --seeds "1 2 3"     train each model once per seed, as MODEL_seedN (default: the seed of
#                       conf/train.yaml, as MODEL)
#   --tag TAG           name the models MODEL_TAG, for example to compare a value of --set with the
#                       default
#   --init NAME         directory under exp/ of a finished model whose weights the trainings of
#                       stage 4 start from (default: random weights)
#   --searches "A B"    greedy, modified_beam, fast_beam (default: greedy)
#   --decode-tag TAG    name of a decoding with other settings (--set decode.*), which gets a directory
#                       and a row in tables of its own; needed with a language model or hotwords
#   --test-sets "A B"   sets to decode and score; those of stage 7 are called mix_* (default: every
#                       data/test*, and mix_test)
#   --corpus-dir DIR    an existing copy of the corpus (default: the recipe finds, downloads or
#                       generates it)
#   --nj N              number of parallel jobs (default: the number of cores). A job processes a
#                       part of a stage's data, or is a training or a decoding, which uses
#                       train.num_threads or decode.num_threads threads
#   --ranks N           processes that train one model together, each on a share of every batch; then
#                       N times fewer trainings run at a time (default: 1; see docs/cluster.md)
#   --engine NAME       where jobs run: local, as processes here, or slurm (default: as cmd.sh says,
#                       which also sets the resources of each stage; see docs/cluster.md)
#   --retries N         run a failed job again, alone, up to N times (default: as cmd.sh says for
#                       Slurm, else 0)
#   --set S.KEY=VALUE   override a configuration value, e.g. train.epochs=2; can be repeated
#   --force             run stages again even if they are complete and unchanged
#   --dry-run           print the commands of each stage, but do not run them
#   --help              show this text
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

recipe=mini
stage=0
stop_stage=13
skip_stages=""
models="lstm conv_rnnt"
talker_models=""
speaker_models=""
trials=""
cohort_methods=""
mitigations=""
mitigate_for="automatic scan tree metadata"
seeds=""
tag=""
init=""
searches="greedy"
test_sets=""
decode_tag=""
corpus_dir=""
nj=$(nproc)
ranks=1
engine=""
retries=""
force=false
dry_run=false
. steps/parse_options.sh
. steps/queue.sh
. steps/run_name.sh

# The path is relative to the caller's directory, not to that of this script.
[[ -z $corpus_dir ]] || corpus_dir=$(cd "$called_from" && realpath -m "$corpus_dir")

. steps/run_options.sh

if [[ $dry_run == false ]]; then
  tools/install.sh
  . ./path.sh
  python -m asrlib check --recipe-dir "$recipe_dir" "${overrides[@]}"
fi

common=(--recipe-dir "$recipe_dir" "${overrides[@]}")
[[ $force == true ]] && common+=(--force)
# What the scripts need that themselves hand their work out to jobs.
shared=(--nj "$nj" --engine "$engine" ${retries:+--retries "$retries"} "${common[@]}")

# begin N TITLE: succeed if stage N shall run, and print its title.
begin() {
  ((stage <= $1 && $1 <= stop_stage)) || return 1
  if [[ " $skip_stages " == *" $1 "* ]]; then
    echo "-- stage $1: $2 is skipped (--skip-stages or $recipe_dir/conf/run.conf)"
    return 1
  fi
  at=$1 title=$2
  echo "== stage $1: $2 ($recipe_dir)"
}

# finish: run what was queued as jobs of the stage.
finish() {
  drain "$at" "$title"
}

# job LABEL COMMAND...: run one command as a job of the stage.
job() {
  queue "$@"
  finish
}

# training MODEL NAME SEED OPTIONS...: queue a training.
training() {
  local options=(--model "$1" --name "$2" "${@:4}" "${common[@]}")
  ((ranks == 1)) || options+=(--ranks "$ranks")
  [[ $3 == - ]] || options+=(--set "train.seed=$3")
  queue "$2" steps/train.sh "${options[@]}"
}

# finish_training: as `finish`, for trainings, which are several processes each.
finish_training() {
  local nj=$((nj > ranks ? nj / ranks : 1))
  finish
}

# names [MODELS]: print one line "MODEL NAME SEED" per requested training.
names() {
  local model seed
  for model in ${1:-$models}; do
    if [[ -z $seeds ]]; then echo "$model $(run_name "$model" "$tag") -"; fi
    for seed in $seeds; do echo "$model $(run_name "$model" "$tag" "$seed") $seed"; done
  done
}

plain_sets="" mix_sets=""
for set in $test_sets; do
  if [[ $set == mix_* ]]; then mix_sets+=" $set"; else plain_sets+=" $set"; fi
done

# sets: print the requested single-talker test sets, or those that exist.
sets() {
  if [[ -n $plain_sets ]]; then
    echo "$plain_sets"
  elif compgen -G "$recipe_dir/data/test*" >/dev/null; then
    (cd "$recipe_dir/data" && echo test*)
  else
    echo test
  fi
}

# trial_lists: print the requested lists of trials, or those that the recipe has made.
trial_lists() {
  local list
  for list in ${trials:-$(cd "$recipe_dir" && compgen -G "data/trials/*.txt" || true)}; do
    list=${list##*/}
    echo "${list%.txt}"
  done
}

if begin 0 corpus; then
  run python -m asrlib doctor
  run "$recipe_dir/local/corpus.sh" ${corpus_dir:+--corpus-dir "$corpus_dir"} "${shared[@]}"
fi

if begin 1 manifests; then
  job manifests steps/make_manifests.sh --nj "$nj" "${common[@]}"
fi

if begin 2 fbank; then
  run steps/make_fbank.sh "${shared[@]}"
fi

if begin 3 tokens; then
  job tokens steps/train_tokens.sh "${common[@]}"
fi

if begin 4 train; then
  while read -r model name seed <&3; do
    training "$model" "$name" "$seed" ${init:+--init "$init"}
  done 3< <(names)
  finish_training
fi

# decodings SCRIPT: run steps/SCRIPT.sh for every model, test set and search.
decodings() {
  local name set search
  while read -r _ name _ <&3; do
    for set in $(sets); do
      for search in $searches; do
        queue "$name $set $search" \
          "steps/$1.sh" --name "$name" --test-set "$set" --search "$search" \
          ${decode_tag:+--tag "$decode_tag"} "${common[@]}"
      done
    done
  done 3< <(names)
  finish
}

if begin 5 decode; then decodings decode; fi
if begin 6 score; then decodings score; fi

if [[ -n $talker_models ]] && begin 7 talkers; then
  job mixtures steps/make_mixtures.sh "${common[@]}"
  read -ra talking <<<"$talker_models"
  run python -m asrlib sizes --recipe-dir "$recipe_dir" "${overrides[@]}" --talkers 2 "${talking[@]}"
  # All multi-talker models start from one model that is trained on single talkers.
  read -r model single seed < <(names sts/single)
  training "$model" "$single" "$seed"
  finish_training
  while read -r model name seed <&3; do
    training "$model" "$name" "$seed" --init "$single"
  done 3< <(names "$talker_models")
  finish_training
  # The single-talker model is scored as a baseline: it has neither a second channel nor turns.
  for script in decode score_meetings; do
    while read -r _ name _ <&3; do
      for set in ${mix_sets:-mix_test}; do
        for search in $searches; do
          queue "$script $name $set $search" "steps/$script.sh" --name "$name" --test-set "$set" \
            --search "$search" "${common[@]}"
        done
      done
    done 3< <(echo "- $single -" && names "$talker_models")
    finish
  done
  ((stop_stage == 13)) || run steps/report.sh "${common[@]}"
fi

# judged_sets: print the sets of stage 9 that exist, on whose speakers cohorts are found and judged.
judged_sets() {
  local set
  for set in discovery confirmation; do
    if [[ -d $recipe_dir/data/$set || ($dry_run == true && $recipe == mini) ]]; then echo "$set"; fi
  done
}

# The model whose errors show the cohorts, and which stage 10 changes; one model says who speaks.
read -r _ judged _ < <(names "${models%% *}")
speaker_names=()
if [[ -n $speaker_models ]]; then
  mapfile -t speaker_names < <(names "$speaker_models" | awk '{ print $2 }')
fi
speaker_model=${speaker_names[0]:-}

if [[ -n $speaker_models ]] && begin 8 speakers; then
  while read -r model name seed <&3; do
    training "$model" "$name" "$seed"
  done 3< <(names "$speaker_models")
  finish_training
  while read -r _ name _ <&3; do
    more=$(judged_sets)
    # Cohorts are found and assigned by the embeddings of the first model alone.
    [[ $name != "$speaker_model" ]] || more+=" ${cohort_methods:+train}"
    [[ $name == "$speaker_model" ]] || more=${more/discovery/}
    for set in dev $(sets) $more; do
      queue "embed $name $set" steps/embed.sh --name "$name" --set-name "$set" "${common[@]}"
    done
    finish
    lists=$(trial_lists)
    read -ra tested < <(sets)
    for list in $lists; do
      queue "score $name $list" steps/score_verification.sh --name "$name" \
        --test-set "${tested[*]}" --trials "$recipe_dir/data/trials/$list.txt" "${common[@]}"
    done
    [[ -z $lists ]] || tested=()
    for set in "${tested[@]}"; do
      queue "score $name $set" \
        steps/score_verification.sh --name "$name" --test-set "$set" "${common[@]}"
    done
    finish
  done 3< <(names "$speaker_models")
fi

# The set whose speakers cohorts are found on, and that of their confirmation. Without these two, the
# speakers of the first test set are divided in halves.
mapfile -t halves < <(judged_sets)
if ((${#halves[@]} < 2)); then
  read -r test_set _ < <(sets)
  halves=("$test_set")
fi
found_on=${halves[0]} confirmed_on=${halves[-1]}

if [[ -n $cohort_methods ]] && begin 9 cohorts; then
  for script in decode score; do
    while read -r _ name _ <&3; do
      for set in "${halves[@]}"; do
        queue "$script $name $set" \
          "steps/$script.sh" --name "$name" --test-set "$set" --search greedy "${common[@]}"
      done
    done 3< <(names)
    finish
  done
  options=(--name "$judged" --set-name "$found_on" --confirm "$confirmed_on" "${common[@]}")
  job find steps/find_cohorts.sh --methods "$cohort_methods" --speaker-model "$speaker_model" \
    "${options[@]}"
  job confirm steps/confirm_cohorts.sh "${options[@]}"
  job explain steps/explain_cohorts.sh --name "$judged" --test-set "$confirmed_on" "${common[@]}"
fi

# What stage 10 is given, and what stage 11 has to know of it.
fair_options=(--name "$judged" --cohorts "$mitigate_for" --rows "$mitigations" --seeds "$seeds"
  --found-on "$found_on" --test-set "$confirmed_on")

# tried COMMAND...: run a command that may fail: the report is still written, then run.sh fails.
failed=0
tried() {
  "$@" || failed=$?
  ((failed < 128)) || exit "$failed" # a signal stopped it
}

if [[ -n $mitigations ]] && begin 10 mitigate; then
  [[ $dry_run == true ]] || rm -f "$recipe_dir"/exp/plans/"$judged"-*/failed.txt
  tried run steps/mitigate.sh "${fair_options[@]}" "${shared[@]}"
fi

if [[ -n $cohort_methods ]] && begin 11 fairness; then
  while read -r _ name _ <&3; do
    queue "score $name" steps/score_cohorts.sh --name "$name" --test-set "$confirmed_on" "${common[@]}"
  done 3< <(names)
  for name in "${speaker_names[@]}"; do
    queue "verify $name" \
      steps/verify_cohorts.sh --name "$name" --test-set "$confirmed_on" "${common[@]}"
  done
  finish
  [[ -z $mitigations ]] ||
    tried job judge steps/judge_mitigations.sh "${fair_options[@]}" "${common[@]}"
fi

if begin 13 report; then
  run steps/report.sh "${common[@]}"
fi

if ((failed > 0)); then
  echo "error: stage 10 or 11 failed; the report was written without:" >&2
  cat "$recipe_dir"/exp/plans/"$judged"-*/failed.txt >&2 2>/dev/null || true
  echo "  fix: see the logs; ./run.sh --stage 10 runs only what failed" >&2
  exit "$failed"
fi

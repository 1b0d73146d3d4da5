#!/usr/bin/env bash
# Word error rate against compute and against CPU time: the amortized Transformer at several
# trade-off weights, beside its full model, a sliding window and random toggles.
#
# Every weight and seed is a training of its own (exp/MODEL_sweep-wWEIGHT_seedN and
# exp/BASELINE_sweep_seedN); then streaming decoding and scores; of the first seed CPU time of one
# stream on one core, and a picture of what is switched off (exp/NAME/toggles_*.svg); RESULTS.md with
# the table "Compute against error", exp/report.html with the plot.
#
# Trainings, decodings and scores that are complete are not made again; a killed run goes on.
#
# Options:
#   --recipe NAME       a directory under egs/, prepared up to stage 3 (default: mini)
#   --model MODEL       the variant (default: amortized, the paper's best; others: amortized/*)
#   --weights "A B"     of the cost at the end of training, nats a frame of full work; a fifth of it
#                       at the start of phase 2, as in the paper (default: "0.03 0.1 0.3")
#   --baselines "A B"   amortized/full, and others, such as amortized/window_5 and amortized/window_20
#                       (default: "amortized/full amortized/window amortized/random")
#   --start NAME        directory under exp/ of a finished model, such as amortized_full, that every
#                       training goes on from, the baselines' too (default: from nothing)
#   --cost-start SHARE  of each training's steps, before the cost begins (default: the model's)
#   --seeds "1 2 3"     seeds of the trainings (default: "1")
#   --searches "A B"    greedy, modified_beam, fast_beam (default: greedy)
#   --nj N              trainings and decodings at a time (default: the number of cores)
#   --set S.KEY=VALUE   override a configuration value; may be given again
#   --force             train, decode and score again although complete and unchanged
#   --dry-run           print what run.sh would run; run nothing
#   --help              this text
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

recipe=mini
model=amortized
weights="0.03 0.1 0.3"
baselines="amortized/full amortized/window amortized/random"
start=""
cost_start=""
seeds="1"
searches="greedy"
nj=$(nproc)
dry_run=false
. steps/parse_options.sh
. steps/queue.sh
. steps/run_name.sh
. steps/time_streams.sh

[[ $model =~ ^amortized(/(single|dual)_.*)?$ ]] ||
  die "--model '$model' has no trade-off" "choose amortized, amortized/single_* or amortized/dual_*"
[[ " $baselines " == *" amortized/full "* ]] ||
  die "--baselines '$baselines' lack amortized/full, which all is compared with" "add it"
for baseline in $baselines; do
  [[ $baseline == amortized/* ]] ||
    die "--baselines: '$baseline' has no toggles" "choose amortized/full, window, random, ..."
done
for override in "${overrides[@]}"; do
  [[ ! $override =~ ^model\.encoder\.(arbitrator|schedule|left_context) ]] ||
    die "--set $override: would change the baselines too" "write a variant: conf/model/amortized/"
done
[[ -z $start || $dry_run == true || -f egs/$recipe/exp/$start/final.pt ]] ||
  die "egs/$recipe/exp/$start: holds no final.pt" "train it, or leave out --start"
[[ -z $cost_start || $cost_start =~ ^0?\.[0-9]+$|^0$ ]] ||
  die "--cost-start '$cost_start' is no share" "give 0 or more and less than 1, for example 0.1"
[[ -n ${seeds// /} ]] || die "no --seeds" "give at least one"
for weight in $weights; do
  [[ $weight =~ ^[0-9]*\.?[0-9]+$ ]] ||
    die "--weights: '$weight' is no weight" "give numbers of 0 or more, for example 0.1"
done

# pipeline MODEL TAG OPTIONS...: training, decoding and scores by run.sh, beside those of others.
names=()
pipeline() {
  local name
  name=$(run_name "$1" "$2")
  local command=(./run.sh --recipe "$recipe" --stage 4 --stop-stage 6 --nj 1 --models "$1" --tag "$2"
    --searches "$searches" --seeds "$seeds" --init "$start" "${overrides[@]}"
    ${start:+--set model.encoder.grow=0} "${@:3}") # a start has its depth
  if [[ $force == true ]]; then command+=(--force); fi
  if [[ $dry_run == true ]]; then
    "${command[@]}" --dry-run
  else
    queue "$name" "${command[@]}"
  fi
  names+=("$name")
}

if [[ $dry_run == false ]]; then
  tools/install.sh
  . ./path.sh
fi

for weight in $weights; do
  pipeline "$model" "sweep-w$weight" \
    --set "model.encoder.schedule.weight=$(awk "BEGIN { print $weight / 5 }")" \
    --set "model.encoder.schedule.final_weight=$weight" \
    ${cost_start:+--set "model.encoder.schedule.cost_start=$cost_start"}
done
for baseline in $baselines; do pipeline "$baseline" sweep; done
if [[ $dry_run == true ]]; then exit; fi
drain

common=(--recipe-dir "egs/$recipe" "${overrides[@]}")
test_sets=("egs/$recipe"/data/test*)
time_streams "${names[@]}"
for family in "${names[@]}"; do
  python -m asrlib toggles "${common[@]}" --name "$(run_name "$family" "" "${seeds%% *}")" \
    --test-set "$(basename "${test_sets[0]}")"
done
leave_command "egs/$recipe/exp/commands"
exec python -m asrlib results "${common[@]}"

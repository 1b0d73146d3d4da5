#!/usr/bin/env bash
# Ends of turns against errors: one finished model of two talkers goes on under penalties on late
# <eot> of several sizes (arXiv 2205.05199), all for the same number of steps on the same mixtures.
#
# Every penalty is a training of its own (exp/START_eot-aALPHA, exp/START_eot-aALPHA-gGRACE), 0 among
# them: what going on does without one. Then decoding and scores; RESULTS.md with each beside 0.
#
# Trainings, decodings and scores that are complete are not made again; a killed run goes on.
#
# Options:
#   --recipe NAME       a directory under egs/, whose stage 7 is complete (default: mini)
#   --model MODEL       of conf/model/*.yaml, what --start was trained as (default: sts)
#   --start NAME        directory under exp/ of the finished model (default: sts)
#   --penalties "A B"   ALPHA or ALPHA:GRACE each; alpha in nats a frame that <eot> is late, grace in
#                       frames that are not late (default: "0.1 0.3 1")
#   --steps N           of each training (default: 300)
#   --rate R            train.peak_lr of each (default: 0.0005)
#   --test-sets "A B"   mixtures to decode and score (default: mix_test)
#   --searches "A B"    greedy, modified_beam (default: greedy)
#   --nj N              trainings at a time (default: the number of cores)
#   --set S.KEY=VALUE   override a configuration value; may be given again
#   --force             train, decode and score again although complete and unchanged
#   --help              this text
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

recipe=mini
model=sts
start=sts
penalties="0.1 0.3 1"
steps=300
rate=0.0005
test_sets="mix_test"
searches="greedy"
nj=$(nproc)
. steps/parse_options.sh

[[ -f egs/$recipe/exp/$start/final.pt ]] ||
  die "egs/$recipe/exp/$start: holds no final.pt" "train it: ./run.sh --recipe $recipe --stage 7"
for penalty in $penalties; do
  [[ $penalty =~ ^[0-9]*\.?[0-9]+(:[0-9]*\.?[0-9]+)?$ ]] ||
    die "--penalties: '$penalty' is no penalty" "give ALPHA or ALPHA:GRACE, for example 0.3:5"
done
[[ $steps =~ ^[1-9][0-9]*$ ]] || die "--steps '$steps' is no number of steps" "give 1 or more"
[[ $nj =~ ^[1-9][0-9]*$ ]] || die "--nj '$nj' is no number of jobs" "give 1 or more"

tools/install.sh
. ./path.sh
common=(--recipe-dir "egs/$recipe" "${overrides[@]}")
if [[ $force == true ]]; then common+=(--force); fi

# go_on PENALTY: the training of one penalty.
go_on() {
  local options=(--set "model.loss.eot_penalty=${1%%:*}")
  if [[ $1 == *:* ]]; then options+=(--set "model.loss.eot_grace=${1#*:}"); fi
  steps/train.sh --model "$model" --name "$(name_of "$1")" --init "$start" "${common[@]}" \
    "${options[@]}" --set "train.max_steps=$steps" --set "train.peak_lr=$rate" \
    --set "train.warmup_steps=$((steps / 10))" --set "train.valid_interval=$(((steps + 2) / 3))"
}

# name_of PENALTY: its directory under exp/.
name_of() { echo "${start}_eot-a${1%%:*}$([[ $1 != *:* ]] || echo "-g${1#*:}")"; }

all="0 $penalties"
trap 'kill $(jobs -rp) 2>/dev/null; wait; exit 143' TERM INT
running=()
for penalty in $all; do
  while (($(jobs -rp | wc -l) >= nj)); do wait -n || true; done
  go_on "$penalty" &
  running+=($!)
done
failed=0
for pid in "${running[@]}"; do wait "$pid" || failed=$?; done
((failed == 0)) || exit "$failed"

for penalty in $all; do
  for set in $test_sets; do
    for search in $searches; do
      options=(--name "$(name_of "$penalty")" --test-set "$set" --search "$search" "${common[@]}")
      steps/decode.sh "${options[@]}"
      steps/score_meetings.sh "${options[@]}"
    done
  done
done
exec python -m asrlib results --recipe-dir "egs/$recipe" "${overrides[@]}"

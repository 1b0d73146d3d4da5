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
#   --dry-run           print the commands, run none
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
dry_run=false
. steps/parse_options.sh
. steps/queue.sh

[[ $dry_run == true || -f egs/$recipe/exp/$start/final.pt ]] ||
  die "egs/$recipe/exp/$start: holds no final.pt" "train it: ./run.sh --recipe $recipe --stage 7"
for penalty in $penalties; do
  [[ $penalty =~ ^[0-9]*\.?[0-9]+(:[0-9]*\.?[0-9]+)?$ ]] ||
    die "--penalties: '$penalty' is no penalty" "give ALPHA or ALPHA:GRACE, for example 0.3:5"
  [[ ! ${penalty%%:*} =~ ^[0.]+$ ]] ||
    die "--penalties: '$penalty' is none" "leave it out: 0 is always there"
done
[[ $steps =~ ^[1-9][0-9]*$ ]] || die "--steps '$steps' is no number of steps" "give 1 or more"
[[ $rate =~ ^[0-9]*\.?[0-9]+$ ]] || die "--rate '$rate' is no rate" "give a number, such as 0.0005"
for search in $searches; do
  [[ " greedy modified_beam " == *" $search "* ]] ||
    die "--searches $search: closes no turns of two talkers" "choose among greedy, modified_beam"
done
for set in $test_sets; do
  [[ $dry_run == true || -d egs/$recipe/data/$set ]] ||
    die "egs/$recipe/data/$set: missing" "choose a mixture set, or run stage 7"
done

common=(--recipe-dir "egs/$recipe" "${overrides[@]}")
if [[ $dry_run == false ]]; then
  tools/install.sh
  . ./path.sh
  python -m asrlib sizes "${common[@]}" --talkers 2 --set model.loss.eot_penalty=1 "$model"
fi
if [[ $force == true ]]; then common+=(--force); fi

names=()
for penalty in 0 $penalties; do
  name=${start}_eot-a${penalty/:/-g}
  options=(--model "$model" --name "$name" --init "$start" "${common[@]}"
    --set "model.loss.eot_penalty=${penalty%%:*}")
  if [[ $penalty == *:* ]]; then options+=(--set "model.loss.eot_grace=${penalty#*:}"); fi
  options+=(--set train.epochs=1000 --set "train.max_steps=$steps" --set "train.peak_lr=$rate"
    --set "train.warmup_steps=$((steps / 10))" --set model.loss.warmup_steps=0
    --set "train.valid_interval=$(((steps + 2) / 3))")
  queue "$name" steps/train.sh "${options[@]}"
  names+=("$name")
done
drain

for name in "${names[@]}"; do
  for set in $test_sets; do
    for search in $searches; do
      options=(--name "$name" --test-set "$set" --search "$search" "${common[@]}")
      run steps/decode.sh "${options[@]}"
      run steps/score_meetings.sh "${options[@]}"
    done
  done
done
[[ $dry_run == true ]] || leave_command "egs/$recipe/exp/commands"
run python -m asrlib results --recipe-dir "egs/$recipe" "${overrides[@]}"

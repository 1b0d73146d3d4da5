#!/usr/bin/env bash
# Compare encoders fairly: equal size, data, updates, augmentation and search; several seeds.
#
# 1. sizes must agree within 5 % (of --models; --ablations are as large as they come)
# 2. one short training of each model at each rate of --rates, seed 1; the rate with
#    the lowest CTC loss on dev is the model's (exp/compare/rates.json); of amortized models the
#    trials are those of amortized/full: in so few steps the cost would end what it should save
# 3. a training of each model at its rate for every seed (exp/MODEL_cmp_seedN, apart from what was
#    trained otherwise); streaming decoding, scores
# 4. real-time factor of one and of 32 streams, one core, of each model's first seed, in turn
# 5. RESULTS.md: tables "Encoders compared on SET" and "Learning rates, chosen on dev"
#
# Trainings, decodings and scores that are complete are not made again; a killed run goes on.
#
# Options:
#   --recipe NAME       a directory under egs/, prepared up to stage 3 (default: mini)
#   --models "A B"      names of conf/model/*.yaml
#                       (default: "lstm conv_rnnt conformer contextnet amortized")
#   --ablations "A B"   further models of the table
#                       (default: "conv_rnnt/local_only conv_rnnt/global_only"; "" for none)
#   --seeds "1 2 3"     seeds of the trainings (default: "1 2 3")
#   --rates "A B"       values of train.peak_lr to try (default: "0.001 0.002 0.004")
#   --tuning-epochs N   epochs of each trial (default: 2)
#   --tuning-steps N    steps of each trial at most, for corpora of which an epoch is long; 0: no such
#                       bound (default: 0)
#   --tuning-warmup N   steps of warm-up of each trial: that of a whole training may last longer than a
#                       trial, which would then never be at its rate (default: 100)
#   --searches "A B"    greedy, modified_beam, fast_beam (default: greedy)
#   --nj N              trainings and decodings at a time (default: the number of cores)
#   --set S.KEY=VALUE   override a configuration value; may be given again
#   --force             train, decode and score again although complete and unchanged
#   --dry-run           print what run.sh would run in step 2; run nothing
#   --help              this text
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

recipe=mini
models="lstm conv_rnnt conformer contextnet amortized"
ablations="conv_rnnt/local_only conv_rnnt/global_only"
seeds="1 2 3"
rates="0.001 0.002 0.004"
tuning_epochs=2
tuning_steps=0
tuning_warmup=100
searches="greedy"
nj=$(nproc)
dry_run=false
. steps/parse_options.sh
. steps/queue.sh
. steps/run_name.sh
. steps/time_streams.sh

all="$models $ablations"
[[ -n ${models// /} ]] || die "no --models" "give two or more"
[[ -n ${seeds// /} && -n ${rates// /} ]] || die "no --seeds or no --rates" "give at least one of each"
for seed in $seeds; do
  [[ $seed =~ ^[0-9]+$ ]] || die "--seeds: '$seed' is no seed" "give whole numbers"
done
for rate in $rates; do
  [[ $rate =~ ^[0-9]*\.?[0-9]+$ ]] || die "--rates: '$rate' is no rate" "give numbers, such as 0.002"
done
[[ $tuning_epochs =~ ^[1-9][0-9]*$ ]] ||
  die "--tuning-epochs '$tuning_epochs' is no number of epochs" "give 1 or more"
[[ $tuning_steps =~ ^[0-9]+$ ]] ||
  die "--tuning-steps '$tuning_steps' is no number of steps" "give 0 or more"
[[ $tuning_warmup =~ ^[0-9]+$ ]] ||
  die "--tuning-warmup '$tuning_warmup' is no number of steps" "give 0 or more"

# pipeline FIRST LAST OPTIONS...: stages of run.sh.
pipeline() {
  local options=(--recipe "$recipe" --stage "$1" --stop-stage "$2" --nj "$nj")
  shift 2
  if [[ $dry_run == true ]]; then options+=(--dry-run); fi
  if [[ $force == true ]]; then options+=(--force); fi
  stoppable ./run.sh "${options[@]}" --searches "$searches" "${overrides[@]}" "$@"
}

# trial_of MODEL: the model whose trials tell its rate.
trial_of() {
  case $1 in
  amortized | amortized/single_* | amortized/dual_*) echo amortized/full ;;
  *) echo "$1" ;;
  esac
}

try_rates() {
  local rate model trials bound=()
  if ((tuning_steps > 0)); then bound=(--set "train.max_steps=$tuning_steps"); fi
  mapfile -t trials < <(for model in $all; do trial_of "$model"; done | awk '!seen[$1]++')
  for rate in $rates; do
    pipeline 4 4 --models "${trials[*]}" --tag "lr$rate" --seeds "" --set "train.epochs=$tuning_epochs" \
      --set "train.warmup_steps=$tuning_warmup" --set "train.peak_lr=$rate" "${bound[@]}"
  done
}

if [[ $dry_run == true ]]; then
  try_rates
  exit
fi

tools/install.sh
. ./path.sh
common=(--recipe-dir "egs/$recipe" "${overrides[@]}")

read -ra compared <<<"$models"
read -ra everything <<<"$all"
test_sets=("egs/$recipe"/data/test*)
python -m asrlib sizes "${common[@]}" --within 0.05 "${compared[@]}"

try_rates
tried=()
for rate in $rates; do tried+=(--rate "$rate"); done
judged=()
for model in "${everything[@]}"; do judged+=("$model=$(trial_of "$model")"); done
chosen=$(python -m asrlib rates "${common[@]}" "${tried[@]}" "${judged[@]}")
echo "$chosen"

# The models of one rate together: their trainings fill the jobs that there are.
while read -r rate <&3; do
  mapfile -t same < <(awk -v rate="$rate" '$2 == rate { print $1 }' <<<"$chosen")
  pipeline 4 6 --models "${same[*]}" --tag cmp --seeds "$seeds" --set "train.peak_lr=$rate"
done 3< <(cut -d " " -f 2 <<<"$chosen" | sort -u)
mapfile -t families < <(for model in "${everything[@]}"; do run_name "$model" cmp; done)
time_streams "${families[@]}"
leave_command "egs/$recipe/exp/commands"
exec python -m asrlib results "${common[@]}"

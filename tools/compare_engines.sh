#!/usr/bin/env bash
# Measures what Slurm costs: the seconds of each stage on a small cluster of one-core nodes, against
# local jobs, and whether both leave the same hypotheses and counts.
#
# It works on a copy of the repository, whose egs/ keeps neither data nor models, starts a cluster
# with tools/slurm_cluster.sh, and prints a table. A stage submits one or more rounds of jobs; the
# overhead is what Slurm takes longer beyond the start of these rounds, as a share of the local time.
#
# Options:
#   --recipe NAME       a directory under egs/ (default: mini)
#   --nj N              jobs at a time, and nodes of the cluster (default: 2)
#   --stages "A B"      stages to measure, in this order (default: all)
#   --run-options "A B" more options of run.sh, e.g. "--models lstm --set corpus.scale=0.1"
#   --work DIR          directory of the copy, which must not exist (default: a temporary one, deleted
#                       at the end)
#   --port N            the controller's port; the nodes take the next ones (default: 27817)
#   --help              show this text
set -euo pipefail

recipe=mini
nj=2
stages="0 1 2 3 4 5 6 7 8 9 10 11 13"
run_options=""
work=""
port=27817
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=steps/parse_options.sh
. "$root/steps/parse_options.sh"
[[ -z $work || ! -e $work ]] || die "--work $work: exists" "give a directory that does not exist"
read -ra more <<<"$run_options"

finish() {
  "$root/tools/slurm_cluster.sh" stop --dir "$work/cluster" >/dev/null || true
  [[ $temporary == false ]] || rm -rf "$work"
}
temporary=false
if [[ -z $work ]]; then
  temporary=true
  work=$(mktemp -d)
fi
mkdir -p "$work"
work=$(cd "$work" && pwd)
trap finish EXIT

# copy ENGINE: copy what run.sh needs.
copy() {
  mkdir "$work/$1"
  tar -C "$root" --exclude=./.venv --exclude=./.cache --exclude=./.git --exclude='./egs/*/data' \
    --exclude='./egs/*/exp' --exclude='./egs/*/corpus' -cf - . | tar -C "$work/$1" -xf -
  ln -s "$root/.venv" "$root/.cache" "$work/$1/"
}

# seconds COMMAND...: run a command quietly, and print how long it takes.
seconds() {
  local begin=${EPOCHREALTIME/./}
  "$@" >>"$work/output" 2>&1 || {
    tail -n 20 "$work/output" >&2
    die "'$*' failed" "see above"
  }
  echo $((${EPOCHREALTIME/./} - begin)) | awk '{ printf "%.1f", $1 / 1e6 }'
}

# jobs ENGINE: run one job that does nothing.
jobs() {
  (
    cd "$work/$1"
    # shellcheck source=path.sh
    . ./path.sh
    python -m asrlib jobs nothing --log-dir "$work/$1/nothing" --engine "$1" --job nothing true
  )
}

"$root/tools/slurm_cluster.sh" start --dir "$work/cluster" --nodes "$nj" --port "$port" >/dev/null
export SLURM_CONF=$work/cluster/slurm.conf
copy local
copy slurm
seconds jobs slurm >/dev/null # the first start reads files from the disk
start=$(seconds jobs slurm)
echo "start of a round of jobs on Slurm: $start s"
printf '%-8s%10s%10s%8s%12s\n' stage "local s" "Slurm s" rounds overhead
for stage in $stages; do
  declare -A took=()
  for engine in local slurm; do
    : >"$work/output"
    took[$engine]=$(seconds "$work/$engine/run.sh" --recipe "$recipe" --engine "$engine" --nj "$nj" \
      --stage "$stage" --stop-stage "$stage" "${more[@]}")
  done
  rounds=$(grep -c ' Slurm jobs, ' "$work/output" || true)
  awk -v stage="$stage" -v here="${took[local]}" -v there="${took[slurm]}" -v rounds="$rounds" \
    -v start="$start" 'BEGIN {
      printf "%-8s%10.1f%10.1f%8d%10.1f %%\n", stage, here, there, rounds,
        100 * (there - here - rounds * start) / here
    }'
done

differ=0
while read -r file; do
  cmp -s "$work/local/$file" "$work/slurm/$file" || {
    echo "differs: $file"
    differ=$((differ + 1))
  }
done < <(cd "$work/local" && find "egs/$recipe/exp" -name utt_counts.jsonl -o -name hyp.jsonl | sort)
echo "$differ files of hypotheses and counts differ"
((differ == 0))

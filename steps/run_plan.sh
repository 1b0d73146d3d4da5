# shellcheck shell=bash
# The end of a script that stands for a plan: source it after setting `plan`, a name of conf/plans/.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
recipe=mini
nj=$(nproc)
engine=""
retries=""
dry_run=false
. steps/parse_options.sh
[[ -d egs/$recipe ]] || die "no recipe '$recipe'" "choose among $(cd egs && echo *)"

. steps/engine.sh
[[ $dry_run == true ]] || tools/install.sh
. ./path.sh
job_options 4
options=("${job_options[@]}")
if [[ $dry_run == true ]]; then options+=(--dry-run); fi
if [[ $force == true ]]; then options+=(--force); fi
# shellcheck disable=SC2154 # the script that sources this one sets it
exec python -m asrlib plan "$plan" --recipe-dir "egs/$recipe" "${options[@]}" "${overrides[@]}"

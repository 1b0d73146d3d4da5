# shellcheck shell=bash
# Common start of the stage scripts: source it after setting the defaults of their own options.
#
# It adds --recipe-dir, --set and --force (see steps/parse_options.sh) and sets up the environment.

: "${recipe_dir=}"
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# Of a Slurm job's several tasks, all train; the first one does everything else.
[[ ${SLURM_PROCID:-0} == 0 || ${0##*/} == train.sh ]] || exit 0

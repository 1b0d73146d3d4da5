# shellcheck shell=bash
# How the script of a stage begins: source it after setting the defaults of the script's own options.
#
# Adds --recipe-dir, --set and --force (see steps/parse_options.sh), then prepares the environment.

: "${recipe_dir=}"
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"

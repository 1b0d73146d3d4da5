#!/usr/bin/env bash
# The test command: sets up what is missing, checks style, runs the tests.
#
# Usage: tests/run.sh [--all] [OPTION OF pytest]...
#
# Runs tools/install.sh, ruff format --check, ruff check, lint-imports, pyrefly, shellcheck on every
# script, then pytest on two processes. With --all also the tests that are marked slow: they need
# Slurm (apt-get install slurm-wlm munge). Options go to pytest, for example:
#   tests/run.sh -k streaming -x     only some tests, stop at the first failure
#   tests/run.sh --all -k slurm      slow ones too
#   tests/run.sh -n 0                in one process
#   tests/run.sh --help-pytest       pytest's own help
#   tests/run.sh --help              this text
set -euo pipefail

case ${1:-} in
  -h | --help)
    awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$0"
    exit 0
    ;;
  --help-pytest) set -- --help ;;
esac
selection=(-m "not slow")
if [[ ${1:-} == --all ]]; then
  selection=()
  shift
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/install.sh
# shellcheck source=path.sh
. ./path.sh

# check NAME FIX COMMAND...: run a style check; its fix when it fails.
check() {
  local name=$1 fix=$2
  shift 2
  "$@" || {
    printf 'error: %s found faults\n  fix: %s\n' "$name" "$fix" >&2
    exit 1
  }
}

mapfile -t scripts < <(find . -path ./.venv -prune -o -path ./.cache -prune -o -path ./.git -prune \
  -o \( -name '*.sh' -o -path ./.ci/run \) -type f -print | sort)
check "ruff format" "run: .venv/bin/ruff format ." ruff format --check --quiet .
check "ruff check" "see above; run: .venv/bin/ruff check --fix ." ruff check --quiet .
check "lint-imports" "see above; pyproject.toml draws the floors" lint-imports --no-logo --cache-dir .cache/import_linter
check "pyrefly" "see above; pyproject.toml says what is checked" \
  env -u PYTHONPATH pyrefly check --output-format min-text --summary=none --min-severity error
check "shellcheck" "see above" shellcheck "${scripts[@]}"

# Two threads each in two processes would fight for two cores.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# In the order of their names: xdist would begin with the files of most tests, and the longest tests
# of all stand in files of few.
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "${selection[@]}" "$@"

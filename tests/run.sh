#!/usr/bin/env bash
# The test command: completes the installation, checks the style and runs the tests.
#
# Usage: tests/run.sh [--all] [OPTION OF pytest]...
#
# It runs tools/install.sh, ruff format --check, ruff check, lint-imports, pyrefly, shellcheck on
# all scripts, and then pytest in two processes. With --all it also runs the tests that are marked
# slow, which need Slurm (apt-get install slurm-wlm munge). Options are passed to pytest, for example:
#   tests/run.sh -k streaming -x     run only some tests, and stop at the first failure
#   tests/run.sh --all -k slurm      run some tests, slow ones too
#   tests/run.sh -n 0                run the tests in one process
#   tests/run.sh --help-pytest       show the help of pytest
#   tests/run.sh --help              show this text
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

# check NAME FIX COMMAND...: run a style check, and print the fix if it fails.
check() {
  local name=$1 fix=$2
  shift 2
  "$@" || {
    printf 'error: %s found problems\n  fix: %s\n' "$name" "$fix" >&2
    exit 1
  }
}

mapfile -t scripts < <(find . -path './.venv*' -prune -o -path ./.cache -prune -o -path ./.git -prune \
  -o \( -name '*.sh' -o -path ./.ci/run \) -type f -print | sort)
check "ruff format" "run: .venv/bin/ruff format ." ruff format --check --quiet .
check "ruff check" "fix the above, or run: .venv/bin/ruff check --fix ." ruff check --quiet .
check "lint-imports" "remove the imports above; pyproject.toml states the rules" \
  lint-imports --no-logo --cache-dir .cache/import_linter
check "pyrefly" "fix the problems above; pyproject.toml says what is checked" \
  env -u PYTHONPATH pyrefly check --output-format min-text --summary=none --min-severity error
check "shellcheck" "fix the problems above" shellcheck "${scripts[@]}"

# Each of the two processes uses one thread, because the tests shall run well on two cores.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# Files run in the order of their names. By default, xdist starts with the files that have most
# tests, but the longest tests are in files that have few.
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "${selection[@]}" "$@"

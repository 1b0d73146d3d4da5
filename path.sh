# shellcheck shell=bash
# The environment of every script here: source it. Kaldi's name for Kaldi's purpose.
#
# Puts the virtual environment that tools/install.sh makes first on the PATH, and this repository
# on Python's, and sets PROJECT_DIR to the repository's root.

PROJECT_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ ! -x "$PROJECT_DIR/.venv/bin/python" ]]; then
  printf 'error: %s/.venv: no Python there\n  fix: run tools/install.sh\n' "$PROJECT_DIR" >&2
  return 1
fi
export PROJECT_DIR
export PATH="$PROJECT_DIR/.venv/bin:$PATH"
export PYTHONPATH="$PROJECT_DIR${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 # logs show a line when it is written
# Fast matrix products on AMD processors (asrlib/mkl.py): on | off, which is for comparisons only.
export FAIRSTREAM_MKL=${FAIRSTREAM_MKL:-on}
export LC_ALL=C.UTF-8     # one sort order, and UTF-8, on every machine

# shellcheck shell=bash
# Sets up the environment of all scripts, like path.sh in Kaldi: source it.
#
# It puts the virtual environment of tools/install.sh first on the PATH and this repository first on
# Python's path, and sets PROJECT_DIR to the root of the repository.
#
# FAIRSTREAM_VENV chooses the environment: .venv (torch 1.13; the default) or .venv-torch2 (torch
# 2.13, for GPUs newer than Ampere), for example FAIRSTREAM_VENV=.venv-torch2 ./run.sh. To choose
# permanently, export it in your shell's start-up file. `python -m asrlib doctor` says which one is
# in use.

PROJECT_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export FAIRSTREAM_VENV=${FAIRSTREAM_VENV:-.venv}
if [[ ! -x "$PROJECT_DIR/$FAIRSTREAM_VENV/bin/python" ]]; then
  printf 'error: %s/%s: contains no Python\n  fix: run tools/install.sh with FAIRSTREAM_VENV=%s\n' \
    "$PROJECT_DIR" "$FAIRSTREAM_VENV" "$FAIRSTREAM_VENV" >&2
  return 1
fi
export PROJECT_DIR
export PATH="$PROJECT_DIR/$FAIRSTREAM_VENV/bin:$PATH"
export PYTHONPATH="$PROJECT_DIR${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 # log lines appear as soon as they are written
# Fast matrix products on AMD processors (asrlib/mkl.py): on | off. Use off only for comparisons.
export FAIRSTREAM_MKL=${FAIRSTREAM_MKL:-on}
export LC_ALL=C.UTF-8     # the same sort order and UTF-8 on every machine

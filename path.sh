# shellcheck shell=bash
# Sets up the environment of all scripts, like path.sh in Kaldi: source it.
#
# It puts the virtual environment of tools/install.sh first on the PATH and this repository first on
# Python's path, and sets PROJECT_DIR to the root of the repository.

PROJECT_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ ! -x "$PROJECT_DIR/.venv/bin/python" ]]; then
  printf 'error: %s/.venv: contains no Python\n  fix: run tools/install.sh\n' "$PROJECT_DIR" >&2
  return 1
fi
export PROJECT_DIR
export PATH="$PROJECT_DIR/.venv/bin:$PATH"
export PYTHONPATH="$PROJECT_DIR${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 # log lines appear as soon as they are written
# Fast matrix products on AMD processors (asrlib/mkl.py): on | off. Use off only for comparisons.
export FAIRSTREAM_MKL=${FAIRSTREAM_MKL:-on}
export LC_ALL=C.UTF-8     # the same sort order and UTF-8 on every machine

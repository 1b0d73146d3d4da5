#!/usr/bin/env bash
# The voxceleb recipe, all stages; takes every option of the top run.sh (see its --help).
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" --recipe voxceleb "$@"

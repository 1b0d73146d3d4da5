#!/usr/bin/env bash
# The speech_commands recipe, all stages; takes every option of the top run.sh (see its --help).
set -euo pipefail

exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" --recipe speech_commands "$@"

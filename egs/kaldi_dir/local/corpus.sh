#!/usr/bin/env bash
# Stage 0 of kaldi_dir: find your Kaldi data directories.
#
# Options:
#   --corpus-dir DIR    a directory with a Kaldi data directory for every set: train, dev, test
#                       (and further test sets, test_*); required at the first run
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

find_corpus --title "Kaldi data directories" --probe train/wav.scp

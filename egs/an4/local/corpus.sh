#!/usr/bin/env bash
# Stage 0 of an4: find CMU's AN4, or download it (64 MB).
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

find_corpus --title AN4 --probe etc/an4_train.fileids --inside an4 \
  --archive "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"

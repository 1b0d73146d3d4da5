#!/usr/bin/env bash
# Stage 0 of speech_commands: find Google's Speech Commands, or download it (version 2, 2.4 GB).
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

# The checksum is the one that torchaudio publishes for the archive.
find_corpus --title "Speech Commands" --probe testing_list.txt \
  --inside speech_commands --inside speech_commands_v0.02 \
  --archive "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz \
sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"

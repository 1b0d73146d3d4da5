#!/usr/bin/env bash
# Stage 0 of commonvoice: find the English part of Common Voice.
#
# Options:
#   --corpus-dir DIR    a directory with validated.tsv, train.tsv and clips/, or one that contains
#                       it as en/; required at the first run, because Mozilla asks for an e-mail
#                       address before it lets anybody download
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

find_corpus --title "Common Voice" --probe validated.tsv --inside en --inside commonvoice/en

#!/usr/bin/env bash
# Stage 0 of speechocean762: find speechocean762, or download it (OpenSLR 101, 520 MB).
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

find_corpus --title speechocean762 --probe train/wav.scp --inside speechocean762 \
  --archive "https://www.openslr.org/resources/101/speechocean762.tar.gz"

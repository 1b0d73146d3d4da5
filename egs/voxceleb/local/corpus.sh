#!/usr/bin/env bash
# Stage 0 of voxceleb: find VoxCeleb1, and VoxCeleb2 if you have it.
#
# Options:
#   --corpus-dir DIR    a directory with vox1_meta.csv and wav/ (or dev/wav/ and test/wav/), or one
#                       that contains it as voxceleb1/, and VoxCeleb2 as voxceleb2/; required at the
#                       first run
set -euo pipefail

# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

find_corpus --title VoxCeleb --probe vox1_meta.csv --probe voxceleb1/vox1_meta.csv

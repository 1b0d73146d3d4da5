#!/usr/bin/env bash
# Stage 0 of librispeech: find LibriSpeech, complete or in part, or download it (OpenSLR 12).
#
# Options:
#   --parts "A B"       parts to download (default: all seven, 60 GB; together, train-clean-100,
#                       dev-clean and test-clean have 7 GB)
set -euo pipefail

parts="train-clean-100 train-clean-360 train-other-500 dev-clean dev-other test-clean test-other"
# shellcheck source=local/corpus.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../../local/corpus.sh"

declare -A md5=( # checksums published with the archives
  [train-clean-100]=2a93770f6d5c6c964bc36631d331a522
  [train-clean-360]=c0e676e450a7ff2f54aeade5171606fa
  [train-other-500]=d1a0fd59409feb2c614ce4d30c387708
  [dev-clean]=42e2234ba48799c1f50f24a7926300a1
  [dev-other]=c8d0bcc9cca99d4f8b62fcc847357931
  [test-clean]=32fa31d27d2e1cad72775fee3f4849a9
  [test-other]=fb5a50374b501bb3bac4815ee91d3135
)
archives=()
for part in $parts; do
  [[ -v md5[$part] ]] || die "--parts: there is no part '$part'" "choose among ${!md5[*]}"
  archives+=(--archive "https://www.openslr.org/resources/12/$part.tar.gz md5:${md5[$part]}")
done

find_corpus --title LibriSpeech --probe train-clean-100 --probe train-clean-360 \
  --probe train-other-500 --inside LibriSpeech --inside librispeech/LibriSpeech "${archives[@]}"

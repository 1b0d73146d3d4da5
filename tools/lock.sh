#!/usr/bin/env bash
# Rewrites tools/requirements.txt from tools/requirements.in, with exact versions and hashes.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: tools/lock.sh [--help] [OPTION OF `uv pip compile`]...

Rewrites tools/requirements.txt from tools/requirements.in. Locked versions do not change unless
--upgrade or --upgrade-package NAME is given. The script needs uv, which tools/install.sh puts into
.venv.
HELP
}

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  usage
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
lock=requirements.txt
k2_version=1.23.4
# The file names of k2's wheels fit every Python, so only the hash selects the one for Python 3.10.
k2_hash=sha256:1404589732fdb7f6f5bf62297a20dd73318b7b4f2e10dd52dc3d5b6669688a4c

uv=uv
[[ -x ../.venv/bin/uv ]] && uv=../.venv/bin/uv
if ! command -v "$uv" >/dev/null; then
  echo "error: uv not found" >&2
  echo "  fix: run tools/install.sh first" >&2
  exit 1
fi

new=$(mktemp -p .)
compiled=$(mktemp)
trap 'rm -f "$new" "$compiled"' EXIT
[[ -f "$lock" ]] && sed '/^k2==/,+1d' "$lock" >"$compiled" # uv keeps the versions of this file
"$uv" pip compile requirements.in --output-file "$compiled" --generate-hashes --no-annotate \
  --no-header --no-emit-index-url --python-version 3.10 --python-platform x86_64-unknown-linux-gnu \
  --quiet "$@"
{
  echo "# Written by tools/lock.sh from tools/requirements.in; do not edit."
  cat "$compiled"
  printf 'k2==%s \\\n    --hash=%s\n' "$k2_version" "$k2_hash"
} >"$new"
chmod 644 "$new"
mv "$new" "$lock"
echo "$(grep -c '==' "$lock") packages locked in tools/$lock"

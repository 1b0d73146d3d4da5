#!/usr/bin/env bash
# Rewrite tools/requirements.txt from tools/requirements.in: exact versions with hashes.
set -euo pipefail

usage() {
  cat <<'HELP'
Usage: tools/lock.sh [--help] [OPTION OF `uv pip compile`]...

Rewrites tools/requirements.txt from tools/requirements.in. Versions already locked stay as they
are unless --upgrade or --upgrade-package NAME is given. Needs uv (in .venv after tools/install.sh).
HELP
}

if [[ "${1:-}" == "--help" || "${1:-}" == "-h" ]]; then
  usage
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")"
lock=requirements.txt
k2_version=1.23.4
# Every Python accepts the names of k2's wheels, so only the hash tells the one for Python 3.10.
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
[[ -f "$lock" ]] && sed '/^k2==/,+1d' "$lock" >"$compiled" # uv keeps the versions it finds there
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

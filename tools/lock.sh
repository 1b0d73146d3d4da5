#!/usr/bin/env bash
# Rewrites tools/requirements*.txt, the locks of .venv and .venv-torch2, with versions and hashes.
#
# Usage: tools/lock.sh [--help] [OPTION OF `uv pip compile`]...
#
# tools/requirements.txt comes from tools/requirements.in. tools/requirements-torch2.txt comes from
# the same file, with the versions of tools/requirements-torch2.in in place of those that differ; all
# other packages have one version in both locks. Locked versions do not change unless --upgrade or
# --upgrade-package NAME is given. The script needs uv, which tools/install.sh puts into .venv.
set -euo pipefail

case ${1:-} in
  -h | --help)
    awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$0"
    exit 0
    ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")"
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
constraints=$(mktemp)
trap 'rm -f "$new" "$compiled" "$constraints"' EXIT

compile() { # compile LOCK OPTION...: lock requirements.in; the versions in LOCK stay
  local lock=$1
  shift
  : >"$compiled"
  [[ -f "$lock" ]] && sed '/^k2==/,+1d' "$lock" >"$compiled" # uv keeps the versions of this file
  "$uv" pip compile requirements.in --output-file "$compiled" --generate-hashes --no-annotate \
    --no-header --no-emit-index-url --python-version 3.10 \
    --python-platform x86_64-unknown-linux-gnu --quiet "$@"
}

write() { # write LOCK SOURCE: write the lock with what stands in $compiled
  {
    echo "# Written by tools/lock.sh from $2; do not edit."
    cat "$compiled"
    if [[ "$1" == requirements.txt ]]; then
      printf 'k2==%s \\\n    --hash=%s\n' "$k2_version" "$k2_hash"
    fi
  } >"$new"
  chmod 644 "$new"
  cp "$new" "$1.part" && mv "$1.part" "$1"
  echo "$(grep -c '==' "$1") packages locked in tools/$1"
}

names_of() { sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' "$1"; }

compile requirements.txt "$@"
write requirements.txt tools/requirements.in
names_of requirements-torch2.in | sed 's/.*/^&==/' >"$new"
sed -n 's/^\([a-z0-9-]*==[^ ]*\).*/\1/p' requirements.txt |
  grep -v -e '^k2==' -f "$new" >"$constraints"
compile requirements-torch2.txt --overrides requirements-torch2.in --constraints "$constraints" "$@"
write requirements-torch2.txt "tools/requirements.in and tools/requirements-torch2.in"

#!/usr/bin/env bash
# Installs everything that Fairstream needs into .venv inside the repository, or another torch into
# an environment of its own beside it.
#
# The script finds Python 3.10, installs the versions that tools/requirements*.txt locks (checked by
# hash), builds kaldifeat and asrlib's own operations against the installed torch, compiles a
# library that lets torch multiply matrices at full speed on AMD processors, and checks the
# installation with `python -m asrlib doctor`.
# If the installation is complete and unchanged, the script returns at once. If it was killed or
# damaged, the script repairs it and does not repeat finished steps.
#
# Options:
#   --torch VERSION 1.13: .venv, with k2, for GPUs up to Ampere (compute capability 8.6)
#                   2.13: .venv-torch2, with fast_rnnt in place of k2 (all but the search fast_beam
#                   needs no k2), for GPUs from Turing to Blackwell (7.5 to 12.0) and their driver
#                   for CUDA 13. Both work without a GPU too. `FAIRSTREAM_VENV=.venv-torch2
#                   ./run.sh` uses the second (default: the one that FAIRSTREAM_VENV names, as
#                   path.sh explains; else 1.13)
#   --cuda          with torch 2.13, compile fast_rnnt's code for GPUs; needs nvcc of CUDA 13. By
#                   default the recursion of the loss runs on the CPU, all else on the GPU
#   --python PATH   use this Python 3.10; by default, the script looks for one on the PATH, under
#                   pyenv, in conda and through uv, in this order
#   --force         install everything again, and build kaldifeat and fast_rnnt again
#   --help          show this text
#
# The library for AMD processors is lib/fairstream_mkl.so in the environment (source:
# tools/mkl_on_amd.c, explanation: asrlib/mkl.py). With FAIRSTREAM_MKL=off, a command does not use
# it.
#
# The log (install.log) and the wheels of kaldifeat and fast_rnnt are in .cache inside the
# repository.
set -euo pipefail

torch=""
cuda=false
python=""
force=false
# shellcheck source=steps/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/../steps/parse_options.sh"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
cache=$root/.cache
log=$cache/install.log

locked_torch() { sed -n 's/^torch==\([^ ]*\).*/\1/p' "$1"; }

choose_lock() { # print the lock of --torch; by default, that of the environment in use
  local lock
  for lock in tools/requirements*.txt; do
    if [[ -z "$torch" ]]; then
      [[ "$(environment_of "$lock")" != "${FAIRSTREAM_VENV:-.venv}" ]] || echo "$lock"
    elif [[ "$(locked_torch "$lock").0" == "$torch".* ]]; then
      echo "$lock"
    fi
  done
}

environment_of() { # print the name of a lock's environment: .venv, .venv-torch2
  local name=${1#tools/requirements}
  echo ".venv${name%.txt}"
}

lock=$(choose_lock)
if [[ -z "$lock" ]]; then
  known=$(for file in tools/requirements*.txt; do
    printf ', %s (%s)' "$(locked_torch "$file")" "$(environment_of "$file")"
  done)
  wanted=${torch:+--torch $torch}
  die "${wanted:-FAIRSTREAM_VENV=$FAIRSTREAM_VENV}: no such environment" "choose among ${known#, }"
fi
name=$(environment_of "$lock")
venv=$root/$name
stamp=$venv/.installed
libraries=$venv/lib/python3.10/site-packages
mkl=$venv/lib/fairstream_mkl.so

# What is built from source, because no wheel fits: `name==version --hash`.
sdists=("kaldifeat==1.24 \
--hash=sha256:71f0f696d8c3fa7e536fede7e16e4f4fe347e8f424e22449478bd9f10b9ed935")
if grep -q '^k2==' "$lock"; then
  loss=k2
else
  loss=fast_rnnt
  sdists+=("fast_rnnt==1.3 \
--hash=sha256:e8758e43e074daec17cbb8fd4c50026045b3b35ed88728854fdbe3590087f0a9")
fi

# The installation uses only its own modules and directory, not those of the caller's environment.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX

say() { printf '[install %3ds] %s\n' "$SECONDS" "$*" | tee -a "$log"; }

run() { # run COMMAND...: write the output to the log, and show its end if the command fails
  printf '+ %s\n' "$*" >>"$log"
  local before rc=0
  before=$(wc -l <"$log")
  "$@" >>"$log" 2>&1 </dev/null || rc=$?
  if ((rc)); then
    tail -n "+$((before + 1))" "$log" | tail -n 15 | sed 's/^/  | /' >&2
  fi
  return "$rc"
}

# ---- what is installed -------------------------------------------------------------------------

installed_key() {
  cat "$lock" tools/build_sdist.py tools/build_kernels.py asrlib/layers/*.cc \
    tools/mkl_on_amd.c tools/install.sh | sha256sum
}

names() { tr '[:upper:]_.' '[:lower:]--' | sort; }

missing_packages() { # print the packages, locked or built, that are not installed
  comm -23 \
    <({
      sed -n 's/^\([A-Za-z0-9._-]*\)==\([^ ]*\).*/\1-\2/p' "$lock"
      printf '%s\n' "${sdists[@]}" | sed 's/==\([^ ]*\).*/-\1/'
    } | names) \
    <(cd "$libraries" 2>/dev/null && printf '%s\n' *.dist-info | sed 's/\.dist-info$//' | names)
}

has_files() { # has_files torch|k2|fast_rnnt|kaldifeat: check the package's files, not only its record
  compgen -G "$libraries/$1/__init__.py" >/dev/null || return 1
  [[ "$1" == torch ]] || compgen -G "$libraries/_$1*.so" >/dev/null
}

has_wanted_cuda() { # check that fast_rnnt was built with code for GPUs if --cuda asks for it
  ! $cuda || [[ "$loss" == k2 ]] ||
    grep -qs '^fast_rnnt_with_cuda = True' "$libraries/fast_rnnt/torch_version.py"
}

is_complete() {
  [[ -f "$stamp" && "$(<"$stamp")" == "$(installed_key)" && -x "$venv/bin/python" ]] &&
    has_files torch && has_files "$loss" && has_files kaldifeat && has_wanted_cuda &&
    compgen -G "$libraries/fairstream_kernels.*.so" >/dev/null && [[ -s "$mkl" ]] &&
    [[ -z "$(missing_packages)" ]] && "$venv/bin/python" -S -c '' 2>/dev/null
}

# ---- a Python 3.10 ---------------------------------------------------------------------------

usable_python() { # check that $1 is a Python 3.10 that runs and has the headers for kaldifeat
  # Run it, because a pyenv shim of the right name may only print "command not found".
  "$1" -c 'import os, sys, sysconfig
assert sys.version_info[:2] == (3, 10)
assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))' >>"$log" 2>&1
}

real_python() { # print the Python behind $1, which may be a shim or in a virtual environment
  "$1" -c 'import sys; print(sys.base_prefix + "/bin/python3.10")' 2>>"$log"
}

conda_pythons() {
  command -v conda >/dev/null || return 0
  conda env list 2>>"$log" | awk '!/^#/ && NF {print $NF "/bin/python"}' || true
}

find_python() { # print the path of a usable Python 3.10
  local candidate
  while IFS= read -r candidate; do
    if [[ -x "$candidate" ]] && usable_python "$candidate"; then
      real_python "$candidate"
      return
    fi
  done < <(
    type -ap python3.10 python3 python || true
    printf '%s\n' "${PYENV_ROOT:-/nonexistent}"/versions/3.10*/bin/python \
      "${HOME:-/nonexistent}"/.pyenv/versions/3.10*/bin/python
    echo "$cache/conda/bin/python"
    conda_pythons
  )
  make_conda_python || make_uv_python
}

uv_requirement() { # write the entry of uv in the lock file to a file of its own
  awk '/^uv==/ {on = 1} on {print; if (!/\\$/) exit}' "$lock" >"$cache/uv.txt"
}

make_conda_python() {
  command -v conda >/dev/null || return 1
  run conda create --yes --quiet --prefix "$cache/conda" python=3.10 2>/dev/null || return 1
  usable_python "$cache/conda/bin/python" && echo "$cache/conda/bin/python"
}

bootstrap_uv() { # print the path of a uv that runs before .venv exists
  local any
  if command -v uv; then return; fi
  uv_requirement
  for any in python3 /usr/bin/python3; do
    [[ -x "$cache/uv/bin/uv" ]] && break
    # A virtual environment needs ensurepip, --target needs pip; a distribution may lack either.
    if run "$any" -m venv --clear "$cache/uv"; then
      run "$cache/uv/bin/python" -m pip install --require-hashes -r "$cache/uv.txt" || true
    else
      run "$any" -m pip install --require-hashes --target "$cache/uv" -r "$cache/uv.txt" || true
    fi
  done 2>/dev/null
  [[ -x "$cache/uv/bin/uv" ]] && echo "$cache/uv/bin/uv"
}

make_uv_python() {
  local uv python
  uv=$(bootstrap_uv) || return 1
  export UV_PYTHON_INSTALL_DIR=$cache/python
  run "$uv" python install 3.10 || return 1
  python=$("$uv" python find --managed-python 3.10 2>>"$log") || return 1
  usable_python "$python" && echo "$python"
}

# ---- the steps -------------------------------------------------------------------------------

check_machine() {
  [[ "$(uname -s) $(uname -m)" == "Linux x86_64" ]] ||
    die "$(uname -s) $(uname -m): the locked wheels are for Linux on x86_64" \
      "use such a machine or container"
  local tool
  for tool in gcc g++; do
    command -v "$tool" >/dev/null || die "$tool not found; the build of kaldifeat needs it" \
      "install a C++ compiler, for example: apt-get install gcc g++"
  done
  if $cuda && ! has_wanted_cuda && ! [[ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]] &&
    ! command -v nvcc >/dev/null; then
    die "--cuda: nvcc not found in \$CUDA_HOME, /usr/local/cuda or the PATH" \
      "install the CUDA toolkit 13.0 or load its module, or omit --cuda"
  fi
  local free_mb needed_mb=7000
  [[ "$loss" == k2 ]] || needed_mb=9000
  free_mb=$(df -Pm "$root" | awk 'NR == 2 {print $4}')
  if [[ ! -d "$libraries/torch" ]] && ((free_mb < needed_mb)); then
    die "$root: only $free_mb MB free, but the installation needs $needed_mb MB" \
      "free some disk space"
  fi
}

use_own_caches() { # pip and uv store downloads under HOME; use .cache if HOME is not writable
  if [[ -z "${HOME:-}" || ! -d "$HOME" || ! -w "$HOME" ]]; then
    export UV_CACHE_DIR=$cache/uv-cache PIP_CACHE_DIR=$cache/pip-cache
  fi
}

venv_works() { # check that the environment can be repaired and has the requested Python
  [[ -x "$venv/bin/python" ]] && usable_python "$venv/bin/python" || return 1
  run "$venv/bin/python" -m pip --version 2>/dev/null || return 1
  [[ -z "$python" || "$(real_python "$venv/bin/python")" == "$python" ]]
}

make_venv() {
  if [[ -n "$python" ]]; then
    usable_python "$python" ||
      die "$python: not a Python 3.10 that runs and has its headers" \
        "give another one, or omit --python"
    python=$(real_python "$python")
  fi
  if venv_works; then return; fi
  if [[ -z "$python" ]]; then
    say "looking for Python 3.10"
    python=$(find_python) || die "no Python 3.10 with its headers was found on the PATH, under \
pyenv, in conda or through uv (see .cache/install.log)" \
      "install one, for example: apt-get install python3.10 python3.10-venv python3.10-dev; if it \
is elsewhere, use --python PATH"
  fi
  say "making $name with $python"
  rm -rf "$venv"
  if ! run "$python" -m venv "$venv" 2>/dev/null; then # a distribution's Python may lack ensurepip
    local uv
    uv=$(bootstrap_uv) || die "$python: cannot make a virtual environment" \
      "install its venv module, for example: apt-get install python3.10-venv"
    rm -rf "$venv"
    run "$uv" venv --seed --python "$python" "$venv" ||
      die "$python: cannot make a virtual environment" "read .cache/install.log for the reason"
  fi
}

install_lock() {
  local package fix="check the network and the disk, then run again: the installation continues \
where it stopped"
  for package in torch "$loss"; do # a record without files would count as an installed package
    has_files "$package" || rm -rf "${libraries:?}/$package"-*.dist-info
  done
  say "installing $(grep -c '==' "$lock") locked packages (2 to 3 GB unless downloaded before)"
  uv_requirement
  run "$venv/bin/python" -m pip install --no-deps --require-hashes -r "$cache/uv.txt" ||
    die "uv could not be installed (.cache/install.log)" "$fix"
  run "$venv/bin/uv" pip install --python "$venv/bin/python" --no-deps --require-hashes \
    -r "$lock" ||
    die "the locked packages could not be installed (.cache/install.log)" "$fix"
}

package_works() { # package_works NAME: check that it loads and fits the installed torch
  [[ "$1" == kaldifeat ]] || has_wanted_cuda || return 1
  "$venv/bin/python" -c "import torch, $1
from $1.torch_version import $1_torch_version as built
assert built == torch.__version__" >>"$log" 2>&1
}

build_sdist() { # build_sdist "NAME==VERSION HASH": build and install a package if it does not work
  local name=${1%%==*} version flags=()
  version=${1#*==}
  version=${version%% *}
  if package_works "$name"; then return; fi
  [[ "$name" == kaldifeat ]] || ! $cuda || flags+=(--cuda)
  # The wheel is kept for each build script and locked torch, so that a second run can use it.
  local key wheels
  key=$({
    cat tools/build_sdist.py
    echo "$(locked_torch "$lock") ${flags[*]}"
  } | sha256sum | cut -c1-16)
  wheels=$cache/wheels/$key
  if ! compgen -G "$wheels/$name-$version-*.whl" >/dev/null; then
    mkdir -p "$cache/sdist"
    echo "$1" >"$cache/$name.txt"
    run "$venv/bin/python" -m pip download --no-deps --no-binary :all: --no-build-isolation \
      --require-hashes --dest "$cache/sdist" -r "$cache/$name.txt" ||
      die "the source of $name could not be downloaded" "check the network, then run again"
    say "building $name $version (about a minute)"
    rm -rf "$wheels.part"
    run "$venv/bin/python" tools/build_sdist.py "${flags[@]}" \
      "$cache/sdist/$name-$version.tar.gz" "$wheels.part" ||
      die "$name could not be built (.cache/install.log)" \
        "provide g++ 9 or newer and 2 GB of free memory, then run again"
    mkdir -p "$wheels"
    mv "$wheels.part"/*.whl "$wheels"
  fi
  run "$venv/bin/python" -m pip install --no-deps --no-index --force-reinstall \
    "$wheels/$name"-*.whl || die "$name could not be installed" "run again with --force"
}

build_kernels() { # returns at once if it was built from this source for this torch
  say "building asrlib's own operations (about ten seconds)"
  run env PYTHONPATH="$root" "$venv/bin/python" tools/build_kernels.py ||
    die "asrlib/layers/*.cc could not be built (.cache/install.log)" \
      "install g++ 7 or newer, then run again"
}

build_mkl_override() { # compiles every time, because it takes only a moment
  run gcc -O2 -shared -fPIC tools/mkl_on_amd.c -o "$mkl.part" ||
    die "tools/mkl_on_amd.c could not be compiled (.cache/install.log)" \
      "install gcc, then run again"
  mv "$mkl.part" "$mkl"
}

# ---- main ------------------------------------------------------------------------------------

if ! $force && [[ -z "$python" ]] && is_complete; then
  echo "tools/install.sh: $name is up to date"
  exit 0
fi
mkdir -p "$cache"
exec 9>"$cache/install.lock"
if command -v flock >/dev/null && ! flock -n 9; then
  echo "another tools/install.sh is running here; waiting for it"
  flock 9
  if ! $force && is_complete; then exit 0; fi
fi
: >"$log"
check_machine
use_own_caches
rm -f "$stamp"
if $force; then rm -rf "$venv" "$cache/wheels"; fi
make_venv
install_lock
for sdist in "${sdists[@]}"; do build_sdist "$sdist"; done
build_kernels
build_mkl_override
say "checking with python -m asrlib doctor"
"$venv/bin/python" -m asrlib doctor || die "the checks above failed" \
  "follow their fixes, or run tools/install.sh --torch $(locked_torch "$lock") --force to install \
everything again"
installed_key >"$stamp.new" && mv "$stamp.new" "$stamp"
say "complete"

"""tools/install.sh, path.sh and cmd.sh, without the network and apart from .venv.

The script runs in a sandbox: a copy of itself, and a PATH that holds only what a test puts there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_locks import locked

from asrlib.installation import ENVIRONMENTS

TOOLS = (
    "bash awk cat comm cut df dirname env flock grep mkdir mv rm sed sha256sum sort tail tee tr "
    "uname wc"
)
# A Python 3.10 that does all but make virtual environments, and says where it lies.
STUB = """#!/bin/bash
case "$*" in
  *base_prefix*) echo "$0" ;;
  "-m venv"*) echo "no ensurepip" >&2; exit 1 ;;
  *) exec {python} "$@" ;;
esac
"""
# A Python 3.10 that makes virtual environments of itself, and reaches no packages.
OFFLINE = """#!/bin/bash
case "$*" in
  *base_prefix*) echo "$0" ;;
  "-m venv"*) mkdir -p "$3/bin"; cat "$0" >"$3/bin/python" ;;
  "-m pip install"*) echo "no network" >&2; exit 1 ;;
  *) exec {python} "$@" ;;
esac
"""


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def write_stub(path: Path) -> Path:
    return write_script(path, STUB.format(python=sys.executable))


INSTALLED_BY = (
    "tools/requirements.txt",
    "tools/build_sdist.py",
    "tools/build_kernels.py",
    "asrlib/layers/gated_block.cc",
    "asrlib/layers/lstm_layer.cc",
    "tools/mkl_on_amd.c",
    "tools/install.sh",
)


@dataclass(frozen=True)
class Sandbox:
    root: Path

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def home(self) -> Path:
        return self.root / "home"

    def install(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", self.root / "repo" / "tools" / "install.sh", *options],
            env={"PATH": str(self.bin), "HOME": str(self.home), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def sandbox(tmp_path, repo) -> Sandbox:
    box = Sandbox(tmp_path)
    box.bin.mkdir()
    box.home.mkdir()
    for name in TOOLS.split():
        (box.bin / name).symlink_to(Path(shutil.which(name) or pytest.fail(f"{name} not found")))
    for name in ("gcc", "g++"):
        write_script(box.bin / name, "#!/bin/bash\n")
    write_script(box.bin / "uv", "#!/bin/bash\nexit 1\n")
    for file in (*INSTALLED_BY, "tools/requirements-torch2.txt"):
        target = tmp_path / "repo" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repo / file, target)
    (tmp_path / "repo" / "steps").mkdir()
    shutil.copy(repo / "steps" / "parse_options.sh", tmp_path / "repo" / "steps")
    return box


def fill(sandbox: Sandbox, repo: Path, name: str) -> None:
    """Let an environment of the sandbox look complete."""
    environment = ENVIRONMENTS[name]
    venv = sandbox.root / "repo" / name
    libraries = venv / "lib" / "python3.10" / "site-packages"
    built = ["kaldifeat==1.24", *(["fast_rnnt==1.3"] if environment.loss == "fast_rnnt" else [])]
    for package in [*locked(repo, environment.lock), *built]:
        words = package.replace("==", "-").split("-")
        (libraries / f"{'_'.join(words[:-1])}-{words[-1]}.dist-info").mkdir(parents=True)
    for package in ("torch", environment.loss, "kaldifeat"):
        (libraries / package).mkdir()
        (libraries / package / "__init__.py").touch()
        (libraries / f"_{package}.cpython-310.so").touch()
    (libraries / "fairstream_kernels.1.so").touch()
    (venv / "lib" / "fairstream_mkl.so").write_text("of tools/mkl_on_amd.c")
    write_stub(venv / "bin" / "python")
    files = ("tools/" + environment.lock, *INSTALLED_BY[1:])
    key = subprocess.run(
        f"cat {' '.join(files)} | sha256sum",
        shell=True,
        cwd=sandbox.root / "repo",
        capture_output=True,
        check=True,
    )
    (venv / ".installed").write_bytes(key.stdout)


@pytest.fixture
def complete(sandbox, repo) -> Sandbox:
    """A sandbox whose .venv looks complete."""
    fill(sandbox, repo, ".venv")
    (sandbox.bin / "gcc").unlink()  # what is not complete goes on, and stops at once
    return sandbox


# ---- options and the machine ----------------------------------------------------------------


def test_help_lists_the_options(sandbox):
    done = sandbox.install("--help")
    assert done.returncode == 0
    options = ("--torch", "--cuda", "--python", "--force", "--help")
    assert all(option in done.stdout for option in options)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--nonsense"], "error: unknown option --nonsense"),
        (["--python"], "error: --python: no value"),
        (["--torch", "2.1"], "error: --torch 2.1: no such environment"),
        (["--python", "/nonexistent/python"], "error: /nonexistent/python: not a Python 3.10"),
    ],
)
def test_bad_options_name_the_mend(sandbox, options, line):
    done = sandbox.install(*options)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert "\n  fix: " in done.stderr


def test_an_unknown_environment_is_named(sandbox):
    done = sandbox.install(FAIRSTREAM_VENV=".venv-torch3")
    assert done.returncode == 2
    assert done.stderr.startswith("error: FAIRSTREAM_VENV=.venv-torch3: no such environment")
    assert "1.13.1 (.venv)" in done.stderr
    assert "2.13.0 (.venv-torch2)" in done.stderr


@pytest.mark.parametrize(
    ("options", "environment"), [(["--torch", "2.13"], ""), ([], ".venv-torch2")]
)
def test_another_torch_gets_an_environment_of_its_own(sandbox, repo, options, environment):
    fill(sandbox, repo, ".venv-torch2")
    done = sandbox.install(*options, FAIRSTREAM_VENV=environment)
    assert done.stdout == "tools/install.sh: .venv-torch2 is up to date\n"
    write_stub(sandbox.bin / "python3.10")
    assert "making .venv with" in sandbox.install().stdout


def test_code_for_gpus_needs_its_compiler(sandbox, repo):
    fill(sandbox, repo, ".venv-torch2")
    done = sandbox.install("--torch", "2.13", "--cuda", CUDA_HOME="/nonexistent")
    assert done.stderr.startswith("error: --cuda: nvcc not found")
    built = sandbox.root / "repo/.venv-torch2/lib/python3.10/site-packages/fast_rnnt"
    (built / "torch_version.py").write_text("fast_rnnt_with_cuda = True\n")
    assert sandbox.install("--torch", "2.13", "--cuda").stdout.endswith("is up to date\n")


@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_a_missing_compiler_is_named(sandbox, compiler):
    (sandbox.bin / compiler).unlink()
    done = sandbox.install()
    assert done.returncode == 2
    assert f"error: {compiler} not found" in done.stderr
    assert "apt-get install gcc g++" in done.stderr


def test_another_machine_is_refused(sandbox):
    (sandbox.bin / "uname").unlink()
    write_script(sandbox.bin / "uname", "#!/bin/bash\n[[ $1 == -s ]] && echo Linux || echo arm64\n")
    assert "error: Linux arm64" in sandbox.install().stderr


def test_a_full_disk_is_named_before_it_is_full(sandbox):
    (sandbox.bin / "df").unlink()
    write_script(sandbox.bin / "df", '#!/bin/bash\necho head\necho "disk 9 9 100 99% /"\n')
    assert "100 MB free" in sandbox.install().stderr


# ---- looking for Python 3.10 ----------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["bin/python3.10", "bin/python3", "home/.pyenv/versions/3.10.9/bin/python"]
)
def test_python_is_found_past_a_shim_that_does_not_run(sandbox, place):
    shim = sandbox.root / "shims" / "python3.10"
    write_script(shim, "#!/bin/bash\necho 'pyenv: python3.10: command not found' >&2\nexit 127\n")
    stub = write_stub(sandbox.root / place)
    done = sandbox.install(PATH=f"{shim.parent}:{sandbox.bin}")
    assert f"making .venv with {stub}" in done.stdout
    assert f"error: {stub}: cannot make a virtual environment" in done.stderr


def test_python_is_found_under_pyenv_root(sandbox):
    stub = write_stub(sandbox.root / "pyenv" / "versions" / "3.10.1" / "bin" / "python")
    done = sandbox.install(PYENV_ROOT=str(sandbox.root / "pyenv"))
    assert f"making .venv with {stub}" in done.stdout


def test_python_is_found_in_a_conda_environment(sandbox):
    stub = write_stub(sandbox.root / "envs" / "py310" / "bin" / "python")
    listing = f"# conda environments:\\nbase  *  /nonexistent\\npy310  {stub.parents[1]}\\n"
    write_script(sandbox.bin / "conda", f"#!/bin/bash\nprintf '{listing}'\n")
    assert f"making .venv with {stub}" in sandbox.install().stdout


def test_python_comes_through_uv_last(sandbox):
    stub = write_stub(sandbox.root / "uv-python" / "python3.10")
    script = f'#!/bin/bash\n[[ "$1 $2" == "python find" ]] && echo {stub}\n[[ $1 == python ]]\n'
    write_script(sandbox.bin / "uv", script)
    assert f"making .venv with {stub}" in sandbox.install().stdout


def test_no_python_at_all_names_the_mend(sandbox):
    done = sandbox.install()
    assert done.returncode == 2
    assert "error: no Python 3.10" in done.stderr
    assert "fix: install one" in done.stderr


def test_no_way_to_the_packages_names_the_mend(sandbox):
    stub = sandbox.bin / "python3.10"
    write_script(stub, OFFLINE.format(python=sys.executable))
    done = sandbox.install()
    assert f"making .venv with {stub}" in done.stdout
    assert "error: uv could not be installed" in done.stderr
    assert "run again: the installation continues where it stopped" in done.stderr
    assert not (sandbox.root / "repo" / ".venv" / ".installed").exists()


# ---- complete or not ------------------------------------------------------------------------


def test_complete_and_unchanged_returns_at_once(complete):
    done = complete.install()
    assert done.stdout == "tools/install.sh: .venv is up to date\n"
    assert done.returncode == 0


@pytest.mark.parametrize(
    "damage",
    [
        ".venv/.installed",
        ".venv/bin/python",
        ".venv/lib/python3.10/site-packages/k2",
        ".venv/lib/python3.10/site-packages/_k2.cpython-310.so",
        ".venv/lib/python3.10/site-packages/_kaldifeat.cpython-310.so",
        ".venv/lib/python3.10/site-packages/fairstream_kernels.1.so",
        ".venv/lib/fairstream_mkl.so",
        ".venv/lib/python3.10/site-packages/click-*.dist-info",
        ".venv/lib/python3.10/site-packages/kaldifeat-1.24.dist-info",
    ],
)
def test_damage_is_seen(complete, damage):
    (path,) = (complete.root / "repo").glob(damage)
    path.unlink() if path.is_file() else shutil.rmtree(path)
    assert "gcc not found" in complete.install().stderr


@pytest.mark.parametrize("file", INSTALLED_BY)
def test_a_change_of_what_installs_is_seen(complete, file):
    with open(complete.root / "repo" / file, "a") as f:
        f.write("\n# changed\n")
    assert "gcc not found" in complete.install().stderr


def test_force_does_not_stop_at_complete(complete):
    assert "gcc not found" in complete.install("--force").stderr


# ---- the other scripts ----------------------------------------------------------------------


def run_bash(script: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", script],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_path_sh_puts_the_environment_first(repo, tmp_path):
    done = run_bash(
        f'. {repo}/path.sh; echo "$PROJECT_DIR"; python -c "import asrlib; print(asrlib.__file__)"',
        tmp_path,
    )
    assert done.stdout.splitlines() == [str(repo), str(repo / "asrlib" / "__init__.py")]


def test_path_sh_lets_the_caller_switch_the_override_for_amd_off(repo):
    script = f'. {repo}/path.sh; echo "$FAIRSTREAM_MKL"'
    assert run_bash(script, repo).stdout == "on\n"
    assert run_bash(script, repo, FAIRSTREAM_MKL="off").stdout == "off\n"


def test_path_sh_without_an_environment_names_the_mend(repo, tmp_path):
    shutil.copy(repo / "path.sh", tmp_path)
    done = run_bash(". ./path.sh; echo went on", tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "fix: run tools/install.sh" in done.stderr


def test_path_sh_takes_the_environment_that_is_asked_for(repo, tmp_path):
    shutil.copy(repo / "path.sh", tmp_path)
    for name in (".venv", ".venv-torch2"):
        write_script(tmp_path / name / "bin" / "python", f"#!/bin/bash\necho {name}\n")
    assert run_bash(". ./path.sh; python", tmp_path).stdout == ".venv\n"
    chosen = run_bash(". ./path.sh; python", tmp_path, FAIRSTREAM_VENV=".venv-torch2")
    assert chosen.stdout == ".venv-torch2\n"


def test_cmd_sh_runs_jobs_here_whatever_the_environment_says(repo):
    assert run_bash('. ./cmd.sh; echo "$engine"', repo, engine="slurm").stdout == "local\n"


def test_the_test_command_explains_itself(repo):
    done = run_bash("tests/run.sh --help", repo)
    assert done.returncode == 0
    assert "pytest" in done.stdout

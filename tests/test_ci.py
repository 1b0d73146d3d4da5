"""The test commands .ci/run and tests/run.sh: what they install, and which tests they choose.

In a sandbox: copies of the scripts, and a PATH of stubs.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGES = ("slurm-wlm", "munge", "chromium")


@dataclass(frozen=True)
class Machine:
    """Copies of the scripts, and a PATH of stubs that write down how they were called."""

    root: Path

    def stub(self, name: str, script: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
        path.chmod(0o755)

    def run(self, *options: str, script: str = ".ci/run") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shutil.which("bash"), self.root / "repo" / script, *options],
            env={"PATH": str(self.root / "bin")},
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )

    @property
    def calls(self) -> list[str]:
        log = self.root / "calls"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(repo, tmp_path) -> Machine:
    """Root on a Debian that has munge alone."""
    for folder in ("bin", "repo/.ci", "repo/tests"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(repo / ".ci/run", tmp_path / "repo/.ci/run")
    test_command = f'echo "tests/run.sh $*" >>{tmp_path}/calls\n'
    (tmp_path / "repo/tests/run.sh").write_text(test_command)
    for name in ("bash", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    machine = Machine(tmp_path)
    machine.stub("id", "echo 0")
    machine.stub("dpkg-query", "[[ ${*: -1} == munge ]] && echo installed")
    machine.stub("apt-get", f'echo "apt-get $*" >>{tmp_path}/calls; echo chatter')
    return machine


def test_what_is_missing_is_installed_before_all_tests_run(machine):
    done = machine.run("-x")
    assert (done.returncode, done.stderr) == (0, "")
    assert "chatter" not in done.stdout
    update, install, tests = machine.calls
    assert update.startswith("apt-get -qq ")
    assert update.endswith(" update")
    assert install.endswith(" install -y --no-install-recommends slurm-wlm chromium")
    assert tests == "tests/run.sh --all -x"


def test_nothing_is_installed_where_nothing_is_missing(machine):
    machine.stub("dpkg-query", "echo installed")
    assert machine.run().returncode == 0
    assert machine.calls == ["tests/run.sh --all"]


def test_a_removed_package_is_missing(machine):
    machine.stub("dpkg-query", "echo config-files")
    assert machine.run().returncode == 0
    assert machine.calls[1].endswith(" ".join(PACKAGES))


@pytest.mark.parametrize("lack", ["root", "apt-get", "dpkg-query"])
def test_who_cannot_install_is_told_and_the_tests_run(machine, lack):
    if lack == "root":
        machine.stub("id", "echo 1000")
    else:
        (machine.root / "bin" / "apt-get").unlink()
        (machine.root / "bin" / lack).unlink(missing_ok=True)
    done = machine.run()
    assert done.returncode == 0
    assert "warning: not installed: " in done.stderr
    assert machine.calls == ["tests/run.sh --all"]


@pytest.mark.parametrize("failing", ["update", "install"])
def test_a_failed_installation_says_why_and_runs_no_test(machine, failing):
    machine.stub("apt-get", f'[[ " $* " != *" {failing} "* ]] || {{ echo no network; exit 100; }}')
    done = machine.run()
    assert done.returncode == 1
    assert "no network" in done.stderr
    assert f"error: apt-get {failing} failed\n  fix: " in done.stderr
    assert machine.calls == []


@pytest.fixture
def tested(repo, machine) -> Machine:
    """A machine whose checks pass and whose Python writes down how pytest is called."""
    shutil.copy(repo / "tests/run.sh", machine.root / "repo/tests/run.sh")
    (machine.root / "repo/tools").mkdir()
    for script in ("tools/install.sh", "path.sh"):
        (machine.root / "repo" / script).write_text("#!/usr/bin/env bash\n")
        (machine.root / "repo" / script).chmod(0o755)
    for name in ("env", "find", "sort"):
        (machine.root / "bin" / name).symlink_to(shutil.which(name))
    for name in ("ruff", "lint-imports", "pyrefly", "shellcheck"):
        machine.stub(name, "")
    machine.stub("python", f"printf '%s\\n' \"$@\" >{machine.root}/calls")
    return machine


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ([], ["-m", "not slow"]),
        (["-k", "stream", "-x"], ["-m", "not slow", "-k", "stream", "-x"]),
        (["--all"], []),
        (["--all", "-k", "slurm"], ["-k", "slurm"]),
    ],
)
def test_slow_tests_run_with_all_only(tested, options, chosen):
    done = tested.run(*options, script="tests/run.sh")
    assert (done.returncode, done.stderr) == (0, "")
    always = ["-m", "pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    assert tested.calls == [*always, *chosen]


def test_a_fault_of_style_stops_before_the_tests(tested):
    tested.stub("pyrefly", "exit 1")
    done = tested.run(script="tests/run.sh")
    assert done.returncode == 1
    assert "error: pyrefly found problems\n  fix: " in done.stderr
    assert tested.calls == []

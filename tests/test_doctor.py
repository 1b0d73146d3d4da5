"""asrlib.doctor: every fault of the installation becomes a finding with its fix."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys

import k2
import kaldifeat
import pytest
from click.testing import CliRunner

from asrlib import doctor
from asrlib.cli.doctor import command
from asrlib.doctor import CHECKS, CheckError, Finding, examine, run_check, table

HEAVY = {"torch", "k2", "kaldifeat", "lhotse", "numpy", "pydantic", "click"}


def test_this_installation_is_well():
    findings = list(examine())
    assert [f.name for f in findings] == list(CHECKS)
    assert [f for f in findings if not f.ok] == []


def test_importing_the_doctor_needs_the_standard_library_only(repo):
    script = f"import sys, asrlib.doctor; assert not {HEAVY} & set(sys.modules)"
    subprocess.run([sys.executable, "-S", "-c", script], cwd=repo, check=True)


def test_every_library_that_asrlib_imports_is_checked(repo):
    imported = set()
    for file in (repo / "asrlib").rglob("*.py"):
        imported |= set(re.findall(r"^\s*(?:import|from) (\w+)", file.read_text(), re.MULTILINE))
    foreign = imported - set(sys.stdlib_module_names) - {"asrlib"}
    by_module = importlib.metadata.packages_distributions()
    foreign = {module for module in foreign if module in by_module}
    assert {"torch", "k2", "lhotse"} <= foreign
    assert foreign <= set(doctor.MODULES.values())


def test_a_check_that_kills_its_process_is_a_finding_and_the_rest_goes_on(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(
        "import os\n"
        "from asrlib import doctor\n"
        "doctor.CHECKS = {'a': lambda: 'fine', 'b': os.abort, 'c': lambda: 'fine too'}\n"
        "print('noise from a library')\n"
        "doctor.main()\n"
    )
    starter = f"import sys, runpy; sys.argv.pop(0); runpy.run_path({str(script)!r})"
    findings = list(examine(["a", "b", "c"], [sys.executable, "-c", starter, "child"]))
    assert [(f.name, f.ok) for f in findings] == [("a", True), ("b", False), ("c", True)]
    assert "died" in findings[1].detail
    assert findings[1].fix


def raising(error: Exception):
    def check() -> str:
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ModuleNotFoundError("No module", name="k2"), "module k2 not found"),
        (ImportError("k2 was built\nwith another torch"), "k2 was built with another torch"),
        (CheckError("the loss is nan"), "the loss is nan"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_whatever_a_check_raises_becomes_a_finding_with_a_mend(error, detail):
    finding = run_check("x", raising(error))
    assert (finding.ok, finding.detail) == (False, detail)
    assert "tools/install.sh" in finding.fix


def test_another_version_than_the_locked_one_fails(monkeypatch):
    monkeypatch.setattr(doctor, "read_lock", lambda: {"click": "0.0.1"})
    with pytest.raises(CheckError, match=r"but 0\.0\.1 is locked"):
        doctor.check_package("click")


def test_a_missing_package_fails(monkeypatch):
    monkeypatch.setattr(doctor, "read_lock", lambda: {"no-such-package": "1", "click": "1"})
    with pytest.raises(CheckError, match="no-such-package: not installed"):
        doctor.check_rest()


def test_a_missing_lock_fails(tmp_path):
    with pytest.raises(CheckError, match="not found"):
        doctor.read_lock(tmp_path / "absent.txt")


@pytest.mark.parametrize("name", ["k2", "kaldifeat"])
def test_a_library_built_with_another_torch_fails(monkeypatch, name):
    monkeypatch.setattr(k2, "k2_torch_version", "1.0.0+cpu")
    monkeypatch.setattr("kaldifeat.torch_version.kaldifeat_torch_version", "1.0.0+cpu")
    with pytest.raises(CheckError, match=r"built with torch 1\.0\.0"):
        CHECKS[f"{name} ABI"]()


def test_a_wrong_k2_loss_fails(monkeypatch):
    right = k2.rnnt_loss_pruned
    monkeypatch.setattr(k2, "rnnt_loss_pruned", lambda *args, **kwargs: 2 * right(*args, **kwargs))
    with pytest.raises(CheckError, match="torchaudio's"):
        doctor.check_k2_loss()


def test_a_wrong_kaldifeat_frame_fails(monkeypatch):
    right = kaldifeat.Fbank
    monkeypatch.setattr(kaldifeat, "Fbank", lambda options: lambda x_N: right(options)(x_N).flip(1))
    with pytest.raises(CheckError, match="peaks in bin"):
        doctor.check_kaldifeat_frames()


def test_the_table_shows_the_mend_of_what_fails_only():
    text = table([Finding("a", True, "1.0"), Finding("bcd", False, "gone", "do this")])
    assert text.splitlines() == [
        "ok    a    1.0",
        "FAIL  bcd  gone",
        "           fix: do this",
        "1 of 2 checks failed",
    ]


@pytest.mark.parametrize("ok", [True, False])
def test_the_command_exits_with_one_when_a_check_fails(monkeypatch, ok):
    finding = Finding("a", ok, "detail", "" if ok else "fix it")
    monkeypatch.setattr("asrlib.cli.doctor.examine", lambda: iter([finding]))
    plain, as_json = CliRunner().invoke(command), CliRunner().invoke(command, ["--json"])
    assert plain.exit_code == as_json.exit_code == (0 if ok else 1)
    assert ("fix it" in plain.output) is not ok
    assert json.loads(as_json.output)[0]["ok"] is ok

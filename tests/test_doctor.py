"""asrlib.doctor: every fault of the installation becomes a finding with its fix."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from asrlib.cli.doctor import command
from asrlib.doctor import Finding, examine, run_check, table
from asrlib.installation import CHECKS, CheckError, CheckWarning

HEAVY = {"torch", "k2", "kaldifeat", "lhotse", "numpy", "pydantic", "click"}


def test_this_installation_is_well():
    findings = list(examine())
    assert [f.name for f in findings] == list(CHECKS)
    assert [f for f in findings if not f.ok] == []


def test_importing_the_doctor_needs_the_standard_library_only(repo):
    script = f"import sys, asrlib.doctor; assert not {HEAVY} & set(sys.modules)"
    subprocess.run([sys.executable, "-S", "-c", script], cwd=repo, check=True)


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


def test_a_check_that_only_warns_is_well_and_has_a_mend():
    finding = run_check("x", raising(CheckWarning("slow code", "switch it on")))
    assert finding == Finding("x", True, "slow code", "switch it on")


def test_the_table_shows_the_mend_of_what_fails_only():
    text = table([Finding("a", True, "1.0"), Finding("bcd", False, "gone", "do this")])
    assert text.splitlines() == [
        "ok    a    1.0",
        "FAIL  bcd  gone",
        "           fix: do this",
        "1 of 2 checks failed",
    ]


def test_the_table_tells_a_warning_from_a_failure():
    warning = Finding("a", True, "slow", "switch it on")
    assert table([warning, Finding("b", True, "1.0")]).splitlines() == [
        "warn  a  slow",
        "         fix: switch it on",
        "ok    b  1.0",
        "all works; 1 of 2 checks warn",
    ]
    assert table([warning, Finding("b", False, "gone", "do this")]).endswith("1 of 2 checks failed")
    assert table([Finding("b", True, "1.0")]).endswith("all is well")


@pytest.mark.parametrize("ok", [True, False])
def test_the_command_exits_with_one_when_a_check_fails(monkeypatch, ok):
    finding = Finding("a", ok, "detail", "" if ok else "fix it")
    monkeypatch.setattr("asrlib.cli.doctor.examine", lambda: iter([finding]))
    plain, as_json = CliRunner().invoke(command), CliRunner().invoke(command, ["--json"])
    assert plain.exit_code == as_json.exit_code == (0 if ok else 1)
    assert ("fix it" in plain.output) is not ok
    assert json.loads(as_json.output)[0]["ok"] is ok

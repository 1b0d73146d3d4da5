"""What must hold of an installation is seen where it does not hold."""

from __future__ import annotations

import importlib.metadata
import re
import sys

import k2
import kaldifeat
import pytest

from asrlib import installation
from asrlib.installation import CHECKS, CheckError, CheckWarning
from asrlib.mkl import Override


def test_every_library_that_asrlib_imports_is_checked(repo):
    imported = set()
    for file in (repo / "asrlib").rglob("*.py"):
        imported |= set(re.findall(r"^\s*(?:import|from) (\w+)", file.read_text(), re.MULTILINE))
    foreign = imported - set(sys.stdlib_module_names) - {"asrlib"}
    by_module = importlib.metadata.packages_distributions()
    foreign = {module for module in foreign if module in by_module}
    assert {"torch", "k2", "lhotse"} <= foreign
    assert foreign <= set(installation.MODULES.values())


def test_another_version_than_the_locked_one_fails(monkeypatch):
    monkeypatch.setattr(installation, "read_lock", lambda: {"click": "0.0.1"})
    with pytest.raises(CheckError, match=r"but 0\.0\.1 is locked"):
        installation.check_package("click")


def test_a_missing_package_fails(monkeypatch):
    monkeypatch.setattr(installation, "read_lock", lambda: {"no-such-package": "1", "click": "1"})
    with pytest.raises(CheckError, match="no-such-package: not installed"):
        installation.check_rest()


def test_a_missing_lock_fails(tmp_path):
    with pytest.raises(CheckError, match="not found"):
        installation.read_lock(tmp_path / "absent.txt")


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
        installation.check_k2_loss()


def test_a_wrong_kaldifeat_frame_fails(monkeypatch):
    right = kaldifeat.Fbank
    monkeypatch.setattr(kaldifeat, "Fbank", lambda options: lambda x_N: right(options)(x_N).flip(1))
    with pytest.raises(CheckError, match="peaks in bin"):
        installation.check_kaldifeat_frames()


@pytest.fixture
def computer(monkeypatch):
    """A processor of AVX2 and its MKL: `computer(outcome of the override, MKL's level)`."""

    def of(override: Override, level: int) -> None:
        monkeypatch.setattr("asrlib.processor.model_name", lambda: "AMD EPYC 7763")
        monkeypatch.setattr("asrlib.processor.has", lambda flag: flag == "avx2")
        monkeypatch.setattr("asrlib.machine._mkl_level", lambda: level)
        monkeypatch.setattr("asrlib.mkl.load_override", lambda: override)

    return of


def test_the_processor_its_code_and_its_rate_are_told(computer):
    computer(Override.LOADED, 5)
    line = r"AMD EPYC 7763, AVX2 code \(override loaded\), \d+ GFLOP/s of sgemm on one core"
    assert re.fullmatch(line, installation.check_processor())


@pytest.mark.parametrize(
    ("override", "fix"),
    [
        (Override.OFF, "unset FAIRSTREAM_MKL"),
        (Override.MISSING, r"run tools/install\.sh"),
        (Override.NOT_AMD, "MKL_DEBUG_CPU_TYPE=5"),
    ],
)
def test_sse_code_on_a_processor_with_avx2_warns(computer, override, fix):
    computer(override, 0)
    with pytest.raises(CheckWarning, match=f"SSE code .*{override.value}.*AVX2, unused") as caught:
        installation.check_processor()
    assert re.search(fix, caught.value.fix)

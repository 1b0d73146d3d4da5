"""What must hold of an installation is seen where it does not hold."""

from __future__ import annotations

import importlib.metadata
import re
import sys

import kaldifeat
import pytest
import torch

from asrlib import installation
from asrlib.installation import CHECKS, CheckError, CheckWarning
from asrlib.mkl import Override
from asrlib.transducer import loss


def test_every_library_that_asrlib_imports_is_checked(repo):
    imported = set()
    for file in (repo / "asrlib").rglob("*.py"):
        imported |= set(re.findall(r"^\s*(?:import|from) (\w+)", file.read_text(), re.MULTILINE))
    foreign = imported - set(sys.stdlib_module_names) - {"asrlib"}
    by_module = importlib.metadata.packages_distributions()
    foreign = {module for module in foreign if module in by_module}
    assert {"torch", "lhotse"} <= foreign
    losses = {e.loss for e in installation.ENVIRONMENTS.values()}  # each is in one environment
    assert foreign - losses <= set(installation.MODULES.values())
    assert losses & set(installation.MODULES.values()) == {installation.HERE.loss}


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


@pytest.mark.parametrize("name", [installation.HERE.loss, "kaldifeat"])
def test_a_library_built_with_another_torch_fails(monkeypatch, name):
    monkeypatch.setattr(f"{name}.torch_version.{name}_torch_version", "1.0.0+cpu")
    with pytest.raises(CheckError, match=r"built with torch 1\.0\.0"):
        CHECKS[f"{name} ABI"]()


def test_a_wrong_transducer_loss_fails(monkeypatch):
    library = loss.backend()
    right = library.mutual_information_recursion
    monkeypatch.setattr(
        library, "mutual_information_recursion", lambda *args, **kwargs: 2 * right(*args, **kwargs)
    )
    with pytest.raises(CheckError, match="torchaudio's"):
        installation.check_loss()


def test_the_doctor_names_the_library_of_the_loss():
    assert installation.check_loss().startswith(f"{installation.HERE.loss}, ")


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU of this compute capability."""

    def of(*capability: int) -> None:
        monkeypatch.setattr(torch._C, "_cuda_getArchFlags", lambda: "sm_75 sm_86 sm_120")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")

    return of


@pytest.mark.parametrize("capability", [(7, 5), (8, 6), (8, 9), (12, 1)])
def test_a_gpu_that_torch_has_code_for_is_told(gpu, capability):
    gpu(*capability)
    told = installation.check_gpus()
    assert told.startswith("capabilities 7.5, 8.6, 12.0 (CUDA ")
    assert told.endswith(f"A GPU has {capability[0]}.{capability[1]}")


@pytest.mark.parametrize("capability", [(7, 0), (8, 0), (9, 0)])
def test_a_gpu_that_torch_has_no_code_for_fails(gpu, capability):
    gpu(*capability)
    with pytest.raises(CheckError, match=f"A GPU has {capability[0]}") as caught:
        installation.check_gpus()
    assert "tools/install.sh --torch " in caught.value.fix


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
def test_generic_code_on_a_processor_with_avx2_warns(computer, override, fix):
    computer(override, 0)
    with pytest.raises(
        CheckWarning, match=f"generic code .*{override.value}.*faster code"
    ) as caught:
        installation.check_processor()
    assert re.search(fix, caught.value.fix)

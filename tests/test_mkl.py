"""The override lets MKL run its fast code on AMD processors, there alone, and changes no result."""

from __future__ import annotations

import ast
import ctypes
import importlib.metadata
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from asrlib import mkl, processor
from asrlib.mkl import LIBRARY, Override, load_override, remedy

AMD = processor.vendor() == "AuthenticAMD"
on_amd = pytest.mark.skipif(
    not (AMD and processor.has("avx2")), reason="not an AMD processor with AVX2: no override"
)
HOLDS_TORCH = {"torch", "torchaudio", "k2", "kaldifeat", "lhotse"}
LOSSES = """
import asrlib, torch
torch.manual_seed(1)
torch.set_num_threads(1)
lstm, output = torch.nn.LSTM(80, 128, num_layers=2), torch.nn.Linear(128, 50)
x_TBF, y_TB = torch.randn(40, 8, 80), torch.randint(50, (40, 8))
parameters = [*lstm.parameters(), *output.parameters()]
optimiser = torch.optim.AdamW(parameters, lr=3e-3)
for _ in range(50):
    optimiser.zero_grad()
    loss = torch.nn.functional.cross_entropy(output(lstm(x_TBF)[0]).flatten(0, 1), y_TB.flatten())
    loss.backward()
    optimiser.step()
    print(loss.item())
"""
RATE = "import asrlib; from asrlib.machine import sgemm_gflops; print(sgemm_gflops())"
CODE = "import asrlib; from asrlib.machine import matrix_code; print(matrix_code())"


def python(script: str, setting: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with FAIRSTREAM_MKL set so."""
    environment = {k: v for k, v in os.environ.items() if k != mkl.VARIABLE}
    if setting:
        environment[mkl.VARIABLE] = setting
    return subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=Path(mkl.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process of an AMD machine, in which torch is not imported; `fresh()` loads the override.

    What is given to `ctypes.CDLL` is collected, not loaded.
    """
    library = tmp_path / "fairstream_mkl.so"
    library.write_text("no library")
    loaded: list[str] = []
    monkeypatch.setattr(mkl, "LIBRARY", library)
    monkeypatch.setattr(mkl, "vendor", lambda: "AuthenticAMD")
    monkeypatch.setattr(ctypes, "CDLL", lambda path, mode: loaded.append(path))
    monkeypatch.delenv(mkl.VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "torch")
    load = load_override.__wrapped__
    load.library, load.loaded = library, loaded
    return load


# ---- when it is loaded ----------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["on", "", None])
def test_it_is_loaded_on_amd_processors(fresh, monkeypatch, setting):
    if setting is not None:
        monkeypatch.setenv(mkl.VARIABLE, setting)
    assert fresh() is Override.LOADED
    assert fresh.loaded == [str(fresh.library)]


@pytest.mark.parametrize("vendor", ["GenuineIntel", "HygonGenuine", ""])
def test_it_is_not_loaded_on_other_processors(fresh, monkeypatch, vendor):
    monkeypatch.setattr(mkl, "vendor", lambda: vendor)
    assert fresh() is Override.NOT_AMD
    assert fresh.loaded == []


def test_it_can_be_switched_off(fresh, monkeypatch):
    monkeypatch.setenv(mkl.VARIABLE, "off")
    assert fresh() is Override.OFF
    assert fresh.loaded == []


def test_a_setting_that_is_none_is_named(fresh, monkeypatch):
    monkeypatch.setenv(mkl.VARIABLE, "0")
    with pytest.warns(RuntimeWarning, match=r"FAIRSTREAM_MKL=0 means on; .* write off"):
        assert fresh() is Override.LOADED


def test_without_its_library_all_works_in_more_time(fresh):
    fresh.library.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fresh() is Override.MISSING


def test_a_library_that_cannot_be_loaded_is_named(fresh, monkeypatch):
    def fail(path, mode):
        raise OSError(f"{path}: file too short")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    with pytest.warns(RuntimeWarning, match=r"fairstream_mkl\.so: file too short"):
        assert fresh() is Override.BROKEN


def test_it_warns_where_torch_came_first(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    with pytest.warns(RuntimeWarning, match="import asrlib first"):
        assert fresh() is Override.LATE
    assert fresh.loaded == []


@pytest.mark.parametrize("outcome", list(Override))
def test_whatever_became_of_it_slow_code_has_a_remedy(monkeypatch, outcome):
    monkeypatch.setattr(mkl, "load_override", lambda: outcome)
    assert remedy()


# ---- in processes of their own --------------------------------------------------------------


@on_amd
def test_the_warning_points_at_the_import_that_came_late():
    done = python("import torch\nimport asrlib")
    assert "<string>:2: RuntimeWarning: torch was imported before asrlib" in done.stderr
    assert python("import torch\nimport asrlib", "off").stderr == ""
    assert python("import asrlib\nimport torch").stderr == ""


@on_amd
def test_the_code_path_follows_the_switch():
    assert python(CODE).stdout.strip() in ("AVX2", "AVX-512")
    assert python(CODE, "on").stdout == python(CODE).stdout
    assert python(CODE, "off").stdout.strip() == "generic"


@on_amd
def test_losses_agree_to_three_digits_with_and_without():
    fast, slow = (
        [float(line) for line in python(LOSSES, setting).stdout.split()]
        for setting in ("on", "off")
    )
    assert len(fast) == 50
    assert fast[-1] < 0.9 * fast[0]  # it learns
    assert fast != slow  # else the override was not in use
    assert fast == pytest.approx(slow, rel=1e-3)


@on_amd
def test_matrix_products_are_faster_with_it():
    rates: dict[str, list[float]] = {"on": [], "off": []}
    for _ in range(2):  # by turns: other load slows both
        for setting, found in rates.items():
            found.append(float(python(RATE, setting).stdout))
    # Without it, torch 1 gives 18 and torch 2 gives 71 GFLOP/s (docs/lab/torch2.md).
    least = 1.5 if importlib.metadata.version("torch").startswith("1.") else 1.2
    assert max(rates["on"]) > least * max(rates["off"])


@on_amd
def test_the_library_is_installed_and_says_yes():
    assert ctypes.CDLL(str(LIBRARY)).mkl_serv_intel_cpu_true() == 1


# ---- before torch ---------------------------------------------------------------------------


def _imports(path: Path) -> list[str]:
    """The packages that a file imports at its top level, in order."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found += [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "").split(".")[0])
    return found


def test_every_script_imports_asrlib_before_torch(repo):
    scripts = [*repo.glob("egs/*/local/*.py"), *repo.glob("local/*.py"), *repo.glob("tools/*.py")]
    scripts.append(repo / "tests" / "conftest.py")
    scripts += [p for p in repo.glob("tests/**/*.py") if "\nif __name__ ==" in p.read_text()]
    late = []
    for script in scripts:
        imported = _imports(script)
        if "asrlib" in imported and HOLDS_TORCH & set(imported[: imported.index("asrlib")]):
            late.append(str(script.relative_to(repo)))
    assert len(scripts) > 10
    assert late == []

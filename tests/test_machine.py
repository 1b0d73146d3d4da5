"""How matrices are multiplied on this machine, and that it is told truly."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from asrlib import machine, processor


def test_a_machine_is_described_without_importing_torch(repo):
    script = (
        "import sys; from asrlib.machine import machine; facts = machine()\n"
        "assert facts['matrix_code'] is None and 'torch' not in sys.modules\n"
        "assert facts['cpu'] and facts['cores'] >= 1"
    )
    subprocess.run([sys.executable, "-S", "-c", script], cwd=repo, check=True)


def test_a_process_with_torch_tells_its_matrix_code():
    assert machine.machine()["matrix_code"] == machine.matrix_code() != "unknown"


@pytest.mark.parametrize(
    ("level", "code", "slow"),
    [
        (0, "generic", True),
        (3, "SSE4.2", True),
        (4, "AVX", False),
        (5, "AVX2", False),
        (7, "AVX-512", False),
        (9, "MKL's number 9", False),
        (None, "unknown", False),
    ],
)
def test_only_old_code_on_a_processor_with_avx2_is_slow(monkeypatch, level, code, slow):
    monkeypatch.setattr(machine, "_mkl_level", lambda: level)
    monkeypatch.setattr(processor, "has", lambda flag: flag == "avx2")
    assert (machine.matrix_code(), machine.slowed_down()) == (code, slow)
    monkeypatch.setattr(processor, "has", lambda flag: False)
    assert not machine.slowed_down()


@pytest.mark.parametrize(("wanted", "code"), [("SSE4_2", "SSE4.2"), ("AVX", "AVX")])
def test_the_code_is_the_one_that_mkl_reports(repo, wanted, code):
    """MKL_VERBOSE names the instructions in its first line."""
    if machine.matrix_code() == "generic":
        pytest.skip("MKL has no choice of code on this processor, or the override is off")
    script = (
        "import asrlib, torch; from asrlib.machine import matrix_code\n"
        "torch.mm(torch.ones(8, 8), torch.ones(8, 8)); print('code', matrix_code())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=repo,
        env={"MKL_VERBOSE": "1", "MKL_ENABLE_INSTRUCTIONS": wanted, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"(Intel(R) {code}) enabled processors" in done.stdout
    assert f"code {code}\n" in done.stdout


def test_the_rate_of_products_leaves_the_threads_as_they_were():
    torch.set_num_threads(2)
    try:
        assert machine.sgemm_gflops(rounds=2, products=2) > 0.1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)

"""What is said of the processor is what the system says."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from asrlib import processor

EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 7763 64-Core Processor
flags\t\t: fpu sse4_2 avx avx2

processor\t: 1
vendor_id\t: another
model name\t: another
"""


@pytest.fixture
def cpuinfo(monkeypatch, tmp_path):
    """A machine with this /proc/cpuinfo, or with none, as `cpuinfo(text)` says."""

    def write(text: str | None) -> None:
        path = tmp_path / "cpuinfo"
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(processor, "_CPUINFO", path)
        processor._facts.cache_clear()

    yield write
    processor._facts.cache_clear()


def test_the_first_core_is_named(cpuinfo):
    cpuinfo(EPYC)
    assert processor.model_name() == "AMD EPYC 7763 64-Core Processor"
    assert processor.vendor() == "AuthenticAMD"
    assert (processor.has("avx2"), processor.has("avx512f"), processor.has("avx5")) == (
        True,
        False,
        False,
    )


@pytest.mark.parametrize("text", [None, "", "processor\t: 0\nBogoMIPS\t: 50.00\n"])
def test_a_system_that_does_not_tell_gives_the_architecture(cpuinfo, text):
    cpuinfo(text)
    assert processor.model_name() in ("x86_64", "aarch64", "arm64")
    assert processor.vendor() == ""
    assert not processor.has("avx2")


def test_a_machine_is_described_without_importing_torch(repo):
    script = (
        "import sys; from asrlib.processor import machine; facts = machine()\n"
        "assert facts['matrix_code'] is None and 'torch' not in sys.modules\n"
        "assert facts['cpu'] and facts['cores'] >= 1"
    )
    subprocess.run([sys.executable, "-S", "-c", script], cwd=repo, check=True)


def test_a_process_with_torch_tells_its_matrix_code():
    assert processor.machine()["matrix_code"] == processor.matrix_code() != "unknown"


@pytest.mark.parametrize(
    ("level", "code", "slow"),
    [
        (0, "SSE", True),
        (3, "SSE4.2", True),
        (4, "AVX", False),
        (5, "AVX2", False),
        (7, "AVX-512", False),
        (9, "MKL's number 9", False),
        (None, "unknown", False),
    ],
)
def test_only_sse_code_on_a_processor_with_avx2_is_slow(monkeypatch, cpuinfo, level, code, slow):
    monkeypatch.setattr(processor, "_mkl_level", lambda: level)
    cpuinfo(EPYC)
    assert (processor.matrix_code(), processor.slowed_down()) == (code, slow)
    cpuinfo(EPYC.replace(" avx avx2", ""))
    assert not processor.slowed_down()


@pytest.mark.parametrize(("wanted", "code"), [("SSE4_2", "SSE4.2"), ("AVX", "AVX")])
def test_the_code_is_the_one_that_mkl_reports(repo, wanted, code):
    """MKL_VERBOSE names the instructions in its first line."""
    if processor.matrix_code().startswith("SSE"):
        pytest.skip("MKL has no choice of code on this processor, or the override is off")
    script = (
        "import asrlib, torch; from asrlib.processor import matrix_code\n"
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
        assert processor.sgemm_gflops(rounds=2, products=2) > 0.1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)

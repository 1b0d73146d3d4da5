"""What is said of the processor is what the system says."""

from __future__ import annotations

import pytest

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

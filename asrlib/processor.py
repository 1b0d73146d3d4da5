"""The processor of this machine, as the system describes it."""

from __future__ import annotations

import functools
import os
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def _facts() -> dict[str, str]:
    """The lines of /proc/cpuinfo about the first core; none on other systems than Linux."""
    facts: dict[str, str] = {}
    if not _CPUINFO.exists():
        return facts
    with open(_CPUINFO) as f:
        for line in f:
            if not line.strip():  # the next core: hundreds of them take a while to read
                break
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    return facts


def model_name() -> str:
    """The processor's name, or its architecture where the system does not tell the name."""
    return _facts().get("model name") or os.uname().machine


def vendor() -> str:
    """The vendor as CPUID gives it, for example AuthenticAMD; empty where unknown."""
    return _facts().get("vendor_id", "")


def has(flag: str) -> bool:
    """Whether the processor has a set of instructions, named as in /proc/cpuinfo: `avx2`."""
    return flag in _facts().get("flags", "").split()

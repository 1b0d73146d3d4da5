"""Name, vendor and instruction sets of this machine's processor, as the system reports them."""

from __future__ import annotations

import functools
import os
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def _facts() -> dict[str, str]:
    """Return the entries of /proc/cpuinfo for the first core; empty on systems other than Linux."""
    facts: dict[str, str] = {}
    if not _CPUINFO.exists():
        return facts
    with open(_CPUINFO) as f:
        for line in f:
            if not line.strip():  # the next core follows; reading hundreds of cores is slow
                break
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    return facts


def model_name() -> str:
    """Return the processor's name, or its architecture if the system does not report a name."""
    return _facts().get("model name") or os.uname().machine


def vendor() -> str:
    """Return the vendor as in CPUID, for example AuthenticAMD; empty if it is unknown."""
    return _facts().get("vendor_id", "")


def has(flag: str) -> bool:
    """Return whether the processor has an instruction set, named as in /proc/cpuinfo: `avx2`."""
    return flag in _facts().get("flags", "").split()

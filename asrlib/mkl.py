"""Let torch's MKL run its fast code on AMD processors.

MKL multiplies matrices with AVX code on processors of Intel alone, and on all others with SSE code,
at a half to a fifth of the speed. It learns the vendor from one exported function,
`mkl_serv_intel_cpu_true`. tools/install.sh compiles tools/mkl_on_amd.c, in which that function
always says yes, into the environment; loaded before torch, it answers in the place of MKL's own.
MKL still finds out for itself which instructions the processor has.

`asrlib/__init__` loads it, on AMD processors only. FAIRSTREAM_MKL=off switches that off:

    FAIRSTREAM_MKL=off ./run.sh
    FAIRSTREAM_MKL=off python -m asrlib train ...

or for good in path.sh. This is the only variable of the environment that asrlib reads: the choice
is made when torch is imported, before any command line is read, and workers must choose alike.
The two codes round sums differently: losses agree to some six digits at first, and to three after
dozens of updates; weights are not equal bit for bit. So a killed training that goes on ends in the
weights of an uninterrupted one only where both ran the same code.

`python -m asrlib doctor` tells which code is in use.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from enum import Enum
from pathlib import Path

from asrlib.processor import vendor

VARIABLE = "FAIRSTREAM_MKL"
LIBRARY = Path(sys.prefix) / "lib" / "fairstream_mkl.so"  # tools/install.sh leaves it there


class Override(Enum):
    """What became of the override in this process, in words."""

    LOADED = "override loaded"
    OFF = f"override switched off by {VARIABLE}"
    NOT_AMD = "no override: not an AMD processor"
    MISSING = "the library of the override is missing"
    BROKEN = "the library of the override cannot be loaded"
    LATE = "no override: torch was imported before asrlib"


@functools.cache
def load_override() -> Override:
    """Load the library where it helps; later calls in a process say what the first one did.

    Warns where it would help but cannot be loaded, or comes too late.
    """
    if vendor() != "AuthenticAMD":
        return Override.NOT_AMD
    setting = os.environ.get(VARIABLE) or "on"
    if setting not in ("on", "off"):
        _warn(f"{VARIABLE}={setting} is taken for on; to switch the override off, write off.")
    if setting == "off":
        return Override.OFF
    if not LIBRARY.exists():
        return Override.MISSING
    if "torch" in sys.modules:
        _warn(
            "torch was imported before asrlib, so that it runs at a fraction of its speed on this "
            f"AMD processor: import asrlib first, or set {VARIABLE}=off to hear no more of it."
        )
        return Override.LATE
    import ctypes

    try:
        ctypes.CDLL(str(LIBRARY), ctypes.RTLD_GLOBAL)
    except OSError as e:
        _warn(f"{e}: torch runs slowly without it; remove it and run tools/install.sh.")
        return Override.BROKEN
    return Override.LOADED


def remedy() -> str:
    """What to do where MKL runs SSE code although the processor has AVX2."""
    return {
        Override.OFF: f"unset {VARIABLE}, or set it to on",
        Override.MISSING: "run tools/install.sh",
        Override.BROKEN: f"remove {LIBRARY} and run tools/install.sh",
        Override.LATE: "import asrlib before torch",
    }.get(
        load_override(),
        "unset MKL_ENABLE_INSTRUCTIONS if it is set; else export MKL_DEBUG_CPU_TYPE=5, which means "
        "AVX2",
    )


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)  # at the line that imports asrlib

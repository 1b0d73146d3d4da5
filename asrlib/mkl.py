"""Make torch's MKL run its fast code on AMD processors.

MKL multiplies matrices with its fastest code only on Intel processors. On all others it runs
generic code: at a half to a fifth of the speed with torch 1.13, at two thirds with torch 2.13. It
learns the vendor from an exported function, `mkl_serv_intel_cpu_true`. tools/install.sh compiles
tools/mkl_on_amd.c, in which this function always answers yes, into a library of the environment. If
the library is loaded before torch, its function replaces that of MKL. MKL still detects by itself
which instructions the processor has.

`asrlib/__init__` loads the library, on AMD processors only. FAIRSTREAM_MKL=off turns this off:

    FAIRSTREAM_MKL=off ./run.sh
    FAIRSTREAM_MKL=off python -m asrlib train ...

To turn it off permanently, set the variable in path.sh. It is the only setting that asrlib takes
from the environment, because the choice is made when torch is imported, before the command line is
read, and worker processes must make the same choice.

The two codes round sums differently: losses agree to about six digits at first, and to three digits
after dozens of updates; weights are not equal bit for bit. A training that was killed and resumed
therefore ends in the weights of an uninterrupted one only if both parts ran the same code.

`python -m asrlib doctor` shows which code is in use.
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
LIBRARY = Path(sys.prefix) / "lib" / "fairstream_mkl.so"  # written by tools/install.sh


class Override(Enum):
    """State of the override in this process; the values are texts for the user."""

    LOADED = "override loaded"
    OFF = f"override switched off by {VARIABLE}"
    NOT_AMD = "no override: not an AMD processor"
    MISSING = "the library of the override is missing"
    BROKEN = "the library of the override cannot be loaded"
    LATE = "no override: torch was imported before asrlib"


@functools.cache
def load_override() -> Override:
    """Load the library if it helps; later calls in a process return the result of the first.

    Warns if the library would help but cannot be loaded, or if torch is already imported.
    """
    if vendor() != "AuthenticAMD":
        return Override.NOT_AMD
    setting = os.environ.get(VARIABLE) or "on"
    if setting not in ("on", "off"):
        _warn(f"{VARIABLE}={setting} means on; to switch the override off, write off.")
    if setting == "off":
        return Override.OFF
    if not LIBRARY.exists():
        return Override.MISSING
    if "torch" in sys.modules:
        _warn(
            "torch was imported before asrlib and therefore runs at a fraction of its speed on an "
            f"AMD processor: import asrlib first, or set {VARIABLE}=off to silence this warning."
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
    """Return what the user can do if MKL runs generic code although the processor has AVX2."""
    return {
        Override.OFF: f"unset {VARIABLE}, or set it to on",
        Override.MISSING: "run tools/install.sh",
        Override.BROKEN: f"remove {LIBRARY} and run tools/install.sh",
        Override.LATE: "import asrlib before torch",
    }.get(
        load_override(),
        "unset MKL_ENABLE_INSTRUCTIONS if it is set; else export MKL_DEBUG_CPU_TYPE=5, which "
        "selects AVX2",
    )


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)  # at the line that imports asrlib

"""The processor, and the code with which MKL multiplies matrices; timings depend on both."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import Any

from asrlib import processor

# Return values of `mkl_serv_cpu_detect`, with the names that MKL_VERBOSE=1 prints. Processors that
# are not Intel's get the generic code: SSE in MKL 2020.0 (torch 1.13); in MKL 2024.2 (torch
# 2.13), code of two thirds of the speed of AVX-512.
_CODE = {0: "generic", 3: "SSE4.2", 4: "AVX", 5: "AVX2", 7: "AVX-512"}
_FIRST_AVX = 4
_SHAPE = (27, 256, 1024)  # shape of the timed product: a batch of streams in an LSTM layer


def machine() -> dict[str, Any]:
    """Describe the machine, for a record beside every timing.

    Returns:
        A dict with `cpu`, the name of the processor; `cores`, the number of cores that this
        process may use; and `matrix_code`, the result of `matrix_code`, or None if torch is not
        imported.
    """
    return {
        "cpu": processor.model_name(),
        "cores": len(os.sched_getaffinity(0)),
        "matrix_code": matrix_code() if "torch" in sys.modules else None,
    }


def _mkl_level() -> int | None:
    """Return MKL's number of the code path that it has chosen; None if it is not available."""

    import torch

    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if not library.exists():
        return None
    detect = getattr(ctypes.CDLL(str(library)), "mkl_serv_cpu_detect", None)
    return None if detect is None else int(detect())


def matrix_code() -> str:
    """Return the instruction set that torch's MKL multiplies matrices with, for example AVX2.

    The result is `unknown` if torch has no MKL or MKL does not report it.
    """
    level = _mkl_level()
    return "unknown" if level is None else _CODE.get(level, f"MKL's number {level}")


def slowed_down() -> bool:
    """Return whether MKL runs generic or SSE code although the processor has AVX2."""
    level = _mkl_level()
    return level is not None and level < _FIRST_AVX and processor.has("avx2")


def sgemm_gflops(rounds: int = 20, products: int = 20) -> float:
    """Measure the GFLOP/s of one core in a single-precision matrix product of shape `_SHAPE`.

    The fastest of several short rounds counts, because other load can only slow a round down. All
    rounds together take about 0.1 s.
    """
    import torch

    m, k, n = _SHAPE
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        a_MK, b_KN, c_MN = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
        best = float("inf")
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(products):
                torch.mm(a_MK, b_KN, out=c_MN)
            best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return products * 2 * m * k * n / best / 1e9

"""What a timing depends on beside the code: the processor, and how MKL multiplies matrices."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import Any

from asrlib import processor

# What `mkl_serv_cpu_detect` of MKL 2020.0 returns, as MKL_VERBOSE=1 names it.
_CODE = {0: "SSE", 3: "SSE4.2", 4: "AVX", 5: "AVX2", 7: "AVX-512"}
_FIRST_AVX = 4
_SHAPE = (27, 256, 1024)  # of the product that is timed: a batch of streams in an LSTM layer


def machine() -> dict[str, Any]:
    """What stands beside every timing.

    Returns:
        `cpu`: the processor's name; `cores`: their number that this process may use;
        `matrix_code`: see `matrix_code`, None in a process without torch.
    """
    return {
        "cpu": processor.model_name(),
        "cores": len(os.sched_getaffinity(0)),
        "matrix_code": matrix_code() if "torch" in sys.modules else None,
    }


def _mkl_level() -> int | None:
    """The code path that MKL has chosen, as its own number; None where it does not tell."""

    import torch

    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if not library.exists():
        return None
    detect = getattr(ctypes.CDLL(str(library)), "mkl_serv_cpu_detect", None)
    return None if detect is None else int(detect())


def matrix_code() -> str:
    """The instructions that torch's MKL multiplies matrices with, for example AVX2.

    `unknown` where torch has no MKL inside, or one that does not tell.
    """
    level = _mkl_level()
    return "unknown" if level is None else _CODE.get(level, f"MKL's number {level}")


def slowed_down() -> bool:
    """Whether MKL runs SSE code although the processor has AVX2."""
    level = _mkl_level()
    return level is not None and level < _FIRST_AVX and processor.has("avx2")


def sgemm_gflops(rounds: int = 20, products: int = 20) -> float:
    """GFLOP/s of one core in a product of single precision, of `_SHAPE`.

    The best of several short rounds counts, for whatever else runs only slows down; all of them
    take about a tenth of a second.
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

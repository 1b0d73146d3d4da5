"""Recognise out-of-memory errors, and split a batch into smaller parts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

# torch's CPU allocator and its CUDA libraries have no exception class of their own for this.
_SAID = re.compile(r"DefaultCPUAllocator|out of memory|_STATUS_ALLOC_FAILED", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of the CPU or of a GPU did not suffice."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(_SAID.search(str(error)))


def halves(parts: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Split each part in two, the first half no smaller than the second; keep single items."""
    halved = []
    for part in parts:
        middle = -(-len(part) // 2)
        halved += [half for half in (part[:middle], part[middle:]) if half]
    return halved

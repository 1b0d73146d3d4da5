"""Buffers that tell how far a training is."""

from __future__ import annotations

from asrlib.layers.growing_depth import is_depth
from asrlib.layers.norm import is_count


def is_progress(name: str) -> bool:
    """Whether a buffer of this name tells how far a training is, so that no mean of it is one."""
    return is_count(name) or is_depth(name)

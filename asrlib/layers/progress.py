"""Buffers that tell how far a training is.

They are weights, so that a checkpoint is used as it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from asrlib.layers.growing_depth import is_depth
from asrlib.layers.norm import is_count


def is_progress(name: str) -> bool:
    """Whether a buffer of this name tells how far a training is, so that no mean of it is one."""
    return is_count(name) or is_depth(name)


def completed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights to start another training from: its schedules count as over.

    Batch renormalisation goes on whole, however long the new training is, and so does the depth.
    """
    done = [name for name in weights if is_progress(name)]
    return {**weights, **{name: torch.full_like(weights[name], torch.inf) for name in done}}

"""Buffers that record the progress of a training.

They are part of the `state_dict`, so that a checkpoint is used in the state it was trained to.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from asrlib.layers.growing_depth import is_depth
from asrlib.layers.norm import is_count


def is_progress(name: str) -> bool:
    """Whether the buffer of this name records progress, so that it must not be averaged."""
    return is_count(name) or is_depth(name)


def completed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Prepare weights as the start of another training: mark their schedules as completed.

    The new training then has full batch renormalisation and full depth from its first step on,
    however long it is.
    """
    done = [name for name in weights if is_progress(name)]
    return {**weights, **{name: torch.full_like(weights[name], torch.inf) for name in done}}

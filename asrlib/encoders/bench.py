"""CPU time of encoders, trained or not: what a size costs a stream.

Shape suffixes: B streams, T input frames, F features.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from asrlib.encoders.base import HasCost, StreamingEncoder


@dataclass(frozen=True)
class StepCost:
    """Of one stream that gives its frames in pieces of one length.

    Attributes:
        frames: of a piece.
        cpu: time of one core, in units of the audio's own; the least of the rounds.
        work: share of full work that toggles left on; None without toggles.
    """

    frames: int
    cpu: float
    work: float | None


@torch.no_grad()
def measure_steps(
    encoders: Mapping[str, StreamingEncoder],
    frames: int,
    total_frames: int,
    rounds: int,
    frame_shift: float,
) -> dict[str, StepCost]:
    """Go through noise with each encoder in turn, so that other load slows all of them alike.

    A first round, which is not counted, fills what they remember.

    Args:
        encoders: by name; are put into evaluation mode. Threads are the caller's to set.
        frames: of a piece; an encoder takes the multiple of its subsampling next to it.
        total_frames: of a round, about.
        frame_shift: seconds from frame to frame.
    """
    spent: dict[str, list[float]] = {name: [] for name in encoders}
    states: dict[str, Any] = {name: e.eval().initial_state(1) for name, e in encoders.items()}
    pieces = {
        name: max(1, round(frames / encoder.subsampling)) * encoder.subsampling
        for name, encoder in encoders.items()
    }
    for _ in range(1 + rounds):
        for name, encoder in encoders.items():
            x_BTF = torch.randn(1, pieces[name], encoder.num_bins)
            steps = max(1, round(total_frames / pieces[name]))
            start = time.process_time()
            for _ in range(steps):
                _, states[name] = encoder.step(x_BTF, states[name])
            seconds = time.process_time() - start
            spent[name].append(seconds / (steps * pieces[name] * frame_shift))
    costs = {}
    for name, encoder in encoders.items():
        share: float | None = None
        if isinstance(encoder, HasCost):
            done, full = encoder.work(states[name])
            share = done / full
        costs[name] = StepCost(pieces[name], min(spent[name][1:]), share)
    return costs

"""Measures the CPU time that encoders, trained or not, need to process a stream.

Shapes: B streams, T input frames, F features.
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
    """Cost of encoding one stream in pieces of equal length.

    Attributes:
        frames: number of input frames per piece.
        cpu: CPU time of one core in seconds per second of audio; the minimum over the rounds.
        work: share of full compute that was spent; None for an encoder that never skips work.
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
    """Measure the CPU time that each encoder needs to encode random frames.

    The encoders take turns in each round, so that other load on the machine affects all of them
    equally. The first round is not measured; it fills the states of the encoders. The caller sets
    the number of threads.

    Args:
        encoders: encoders by name; they are set to evaluation mode.
        frames: number of input frames per piece; each encoder uses the nearest positive multiple
            of its `subsampling`.
        total_frames: approximate number of input frames per round.
        rounds: number of measured rounds.
        frame_shift: time between two frames, in seconds.

    Returns:
        Costs by name of the encoder.
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

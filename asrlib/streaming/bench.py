"""Measure how fast recognisers decode a set.

The recognisers take turns, so that other load on the machine slows all of them alike.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from lhotse import CutSet

from asrlib.streaming.batch import Cost, decode_cuts, decode_turns
from asrlib.streaming.recognizer import StreamingRecognizer

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class StreamingSpeed:
    """Time that one recogniser took: the smallest value over its rounds.

    Attributes:
        real_time_factor: wall-clock seconds per second of audio.
        cpu_seconds: CPU seconds per second of audio.
    """

    real_time_factor: float
    cpu_seconds: float


def measure_streaming(
    recognizers: Mapping[K, StreamingRecognizer], cuts: CutSet, rounds: int
) -> dict[K, StreamingSpeed]:
    """Decode the cuts with each recogniser in turn, `rounds` times; the fastest time counts.

    Args:
        recognizers: the recognisers, under keys of any kind. The caller sets the number of
            torch threads.
        rounds: number of rounds, above 0. Each recogniser decodes two cuts before the first
            round; this warm-up is not counted.
    """
    for recognizer in recognizers.values():
        _decode(recognizer, cuts.subset(first=2))
    costs = [{key: _decode(r, cuts) for key, r in recognizers.items()} for _ in range(rounds)]
    return {
        key: StreamingSpeed(
            min(cost[key].real_time for cost in costs),
            min(cost[key].cpu_seconds for cost in costs) / costs[0][key].audio_seconds,
        )
        for key in recognizers
    }


def _decode(recognizer: StreamingRecognizer, cuts: CutSet) -> Cost:
    """Decode all cuts and return the time that it took."""
    decode = decode_turns if recognizer.talkers > 1 else decode_cuts
    decoded, cost = decode(recognizer, cuts)
    list(decoded)
    return cost

"""What a long meeting costs: one stream of a model of several talkers, for as long as is asked."""

from __future__ import annotations

import itertools
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse.cut import Cut
from torch import Tensor

from asrlib.errors import UserError
from asrlib.streaming.batch import Cost, chunks_of
from asrlib.streaming.recognizer import StreamingRecognizer


@dataclass(frozen=True)
class MeetingCost:
    """Of one stream.

    Attributes:
        minutes: of audio, at least as many as were asked for.
        turns: that were recognised.
        real_time_factor, cpu_seconds: a second of audio; reading the audio is left out.
        early_memory_mb, memory_mb: largest resident memory, MiB, between two chunks of the first
            tenth, and of the rest. As large in the rest: memory does not grow with the meeting.
    """

    minutes: float
    turns: int
    real_time_factor: float
    cpu_seconds: float
    early_memory_mb: float
    memory_mb: float


def measure_meeting(
    recognizer: StreamingRecognizer, mixtures: Sequence[Cut], minutes: float
) -> MeetingCost:
    """Decode mixtures as one meeting, one after another and again, until it is long enough.

    Args:
        mixtures: at least one, all of one sampling rate.
        minutes: above 0.

    Raises:
        UserError: the model is one of a single talker.
    """
    if recognizer.talkers == 1:
        raise UserError(
            "bench meeting: the model is one of a single talker",
            "give --name of a model of several (conf/model/sts.yaml)",
        )
    stream, cost, turns, early, late = recognizer.create_stream(), Cost(), 0, 0.0, 0.0
    for chunk_N, rate in _endless(recognizer, mixtures):
        with cost.measured():
            stream.accept(chunk_N, rate)
            recognizer.step([stream])
            turns += len(recognizer.take_turns(stream))
        cost.audio_seconds += len(chunk_N) / rate
        if cost.audio_seconds <= 6 * minutes:
            early = max(early, _resident_mb())
        else:
            late = max(late, _resident_mb())
        if cost.audio_seconds >= 60 * minutes:
            break
    with cost.measured():
        stream.finish()
        recognizer.step([stream])
        turns += len(recognizer.turns(stream))
    return MeetingCost(
        minutes=cost.audio_seconds / 60,
        turns=turns,
        real_time_factor=cost.real_time,
        cpu_seconds=cost.cpu_seconds / cost.audio_seconds,
        early_memory_mb=early,
        memory_mb=late,
    )


def _resident_mb() -> float:
    """Of this process now; its peak so far is mostly that of loading the model."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _endless(
    recognizer: StreamingRecognizer, mixtures: Sequence[Cut]
) -> Iterator[tuple[Tensor, int]]:
    for cut in itertools.cycle(mixtures):
        for chunk_N in chunks_of(cut, recognizer.config.chunk_seconds):
            yield chunk_N, cut.sampling_rate

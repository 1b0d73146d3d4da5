"""Measure time and memory of a long meeting: one stream, and a model of several talkers."""

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
    """Time and memory that one long stream took.

    Attributes:
        minutes: minutes of audio decoded, at least as many as were requested.
        turns: number of turns recognised.
        real_time_factor, cpu_seconds: wall-clock and CPU seconds per second of audio; the time to
            read the audio is not counted.
        early_memory_mb: largest resident memory in MiB, measured after each chunk of the first
            tenth of the meeting.
        memory_mb: the same for the rest of the meeting. It equals `early_memory_mb` if memory
            does not grow with the meeting.
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
    """Decode mixtures one after another as one meeting; repeat them until it is long enough.

    Args:
        mixtures: the mixtures, at least one; all have the same sampling rate.
        minutes: length of the meeting in minutes, above 0.

    Raises:
        UserError: the model is a model of a single talker.
    """
    if recognizer.talkers == 1:
        raise UserError(
            "bench meeting: the model is a model of a single talker",
            "give the --name of a model of several talkers (conf/model/sts.yaml)",
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
    """Return the present resident memory of this process in MiB.

    The peak would not do: loading the model mostly decides it.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _endless(
    recognizer: StreamingRecognizer, mixtures: Sequence[Cut]
) -> Iterator[tuple[Tensor, int]]:
    for cut in itertools.cycle(mixtures):
        for chunk_N in chunks_of(cut, recognizer.config.chunk_seconds):
            yield chunk_N, cut.sampling_rate

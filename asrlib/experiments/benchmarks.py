"""What `python -m asrlib bench` measured: a file for each measurement in exp/bench/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asrlib.json_record import JsonRecord
from asrlib.scoring.records import Machine


@dataclass(frozen=True, kw_only=True)
class Benchmark(JsonRecord):
    """One measurement; what was not measured is None, and no key of the file.

    Attributes:
        machine: where it was measured.
        command: what repeats it.
        model: the model's name.
        set: name of the test set, a directory under data/.
        search: name of the search.
        piece: how much audio the encoder is given at a time, in words.
        audio_seconds: length of the audio whose features were extracted, or that was embedded.
        embedding: seconds of audio embedded per CPU second on one core, from the files.
        bare, read, stage: seconds of audio per second of CPU time on one core, of kaldifeat alone,
            of reading the files, and of the whole fbank stage.
        ratio: `stage` divided by `bare`.
        steps: number of training steps.
        torch, loss_library: version of torch, and the library of the transducer loss.
        throughput: seconds of audio per second of training.
        data_wait, loss_share: shares of the training time, 0 to 1.
        ranks: number of processes that trained together; None for one.
        speedup: their throughput, divided by that of one.
        real_time_factor_1, real_time_factor_32: wall-clock seconds per second of audio, decoding 1
            stream and 32 streams.
        cpu_seconds_1, cpu_seconds_32: CPU seconds per second of audio, of the same.
        encoder_cpu_ms: CPU milliseconds of the encoder per second of audio.
        encoder_work_percent: work that the encoder did, in per cent of its full work.
        meeting_minutes: length of the meeting.
        meeting_turns: number of turns that were recognised in it.
        meeting_real_time_factor, meeting_cpu_seconds: seconds per second of audio.
        meeting_early_memory_mb, meeting_memory_mb: largest resident memory in the first tenth and
            in the rest, in MiB.
        speakers: number of made-up speakers among whom cohorts were found.
        tree_seconds, clusters_seconds, bootstrap_seconds: wall-clock time of each part.
        tree_memory_mb, clusters_memory_mb, bootstrap_memory_mb: largest resident memory, in MiB.
    """

    machine: Machine | None = None
    command: str | None = None
    model: str | None = None
    set: str | None = None
    search: str | None = None
    piece: str | None = None
    audio_seconds: float | None = None
    embedding: float | None = None
    bare: float | None = None
    read: float | None = None
    stage: float | None = None
    ratio: float | None = None
    steps: int | None = None
    torch: str | None = None
    loss_library: str | None = None
    throughput: float | None = None
    data_wait: float | None = None
    loss_share: float | None = None
    ranks: int | None = None
    speedup: float | None = None
    real_time_factor_1: float | None = None
    real_time_factor_32: float | None = None
    cpu_seconds_1: float | None = None
    cpu_seconds_32: float | None = None
    encoder_cpu_ms: float | None = None
    encoder_work_percent: float | None = None
    meeting_minutes: float | None = None
    meeting_turns: int | None = None
    meeting_real_time_factor: float | None = None
    meeting_cpu_seconds: float | None = None
    meeting_early_memory_mb: float | None = None
    meeting_memory_mb: float | None = None
    speakers: int | None = None
    tree_seconds: float | None = None
    tree_memory_mb: float | None = None
    clusters_seconds: float | None = None
    clusters_memory_mb: float | None = None
    bootstrap_seconds: float | None = None
    bootstrap_memory_mb: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in super().to_json().items() if value is not None}


def streaming_file(name: str, test_set: str, search: str) -> Path:
    """Where `python -m asrlib bench streaming` leaves its figures, below exp/."""
    return Path("bench") / f"streaming_{name}_{test_set}_{search}.json"


def read_benchmark(path: Path) -> Benchmark:
    """What `python -m asrlib bench` left.

    Raises:
        DataError: the file is missing, broken, or of another version.
    """
    return Benchmark.from_file(path, "run the benchmark again")


def streaming_speed(exp: Path, name: str, test_set: str, search: str) -> Benchmark:
    """What `bench streaming` measured of a decode; nothing where it was not run.

    Raises:
        DataError: the file is broken, or of another version.
    """
    path = exp / streaming_file(name, test_set, search)
    return read_benchmark(path) if path.exists() else Benchmark()

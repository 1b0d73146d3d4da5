"""Decoding a set of cuts: many at a time, each fed in chunks as if it were live.

Shape suffixes: N samples.
"""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from lhotse.cut import Cut
from torch import Tensor

from asrlib.encoders.base import HasCost, StreamingEncoder
from asrlib.errors import DataError
from asrlib.streaming.recognizer import StreamingRecognizer
from asrlib.streaming.result import Result
from asrlib.streaming.stream import Stream
from asrlib.text.turns import Turn
from asrlib.text.words import TimedWord

DECODE_VERSION = 1  # raised when the output of `decode` changes; see asrlib/stamps.py
T = TypeVar("T")


@dataclass
class Cost:
    """What decoding took; reading audio files is left out.

    Attributes:
        audio_seconds: length of the audio decoded, without tails.
        cpu_seconds, wall_seconds: spent in features, model and search.
        multiplications, full_multiplications: made by an encoder that leaves work out, and what
            it would make without that; 0 for encoders that always do all of it.
    """

    audio_seconds: float = 0.0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    multiplications: float = 0.0
    full_multiplications: float = 0.0

    @property
    def compute_share(self) -> float | None:
        """Of the full work, None for encoders that always do all of it."""
        if not self.full_multiplications:
            return None
        return self.multiplications / self.full_multiplications

    def add_work(self, encoder: StreamingEncoder, state: Any) -> None:
        """Add the work of a finished stream, where its encoder counts it."""
        if isinstance(encoder, HasCost):
            spent, full = encoder.work(state)
            self.multiplications += spent
            self.full_multiplications += full

    @property
    def real_time(self) -> float:
        """Wall-clock seconds per second of audio."""
        return self.wall_seconds / self.audio_seconds if self.audio_seconds else 0.0

    @property
    def peak_memory_mb(self) -> float:
        """Largest resident memory of this process so far, in MiB."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add what the body takes."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.cpu_seconds += time.process_time() - cpu
        self.wall_seconds += time.perf_counter() - wall


@dataclass(frozen=True)
class _Running:
    cut: Cut
    stream: Stream
    chunks: Iterator[Tensor]
    rate: int


def decode_cuts(
    recognizer: StreamingRecognizer, cuts: Iterable[Cut]
) -> tuple[Iterator[tuple[Cut, Result]], Cost]:
    """Decode cuts, at most `max_streams` at a time; a finished one makes room for the next.

    Returns:
        the cuts with their final results, in order of completion; what it cost, complete when
        the former is exhausted.

    Raises:
        DataError: a cut's audio cannot be read; names its id.
    """
    cost = Cost()
    return _decode(recognizer, iter(cuts), cost, lambda r: recognizer.result(r.stream)), cost


def decode_turns(
    recognizer: StreamingRecognizer, cuts: Iterable[Cut]
) -> tuple[Iterator[tuple[Cut, list[Turn]]], Cost]:
    """As `decode_cuts`, with a model of several talkers: the turns of each cut, its session."""
    cost = Cost()

    def turns(r: _Running) -> list[Turn]:
        return recognizer.turns(r.stream, r.cut.id)

    return _decode(recognizer, iter(cuts), cost, turns), cost


def _decode(
    recognizer: StreamingRecognizer,
    cuts: Iterator[Cut],
    cost: Cost,
    outcome: Callable[[_Running], T],
) -> Iterator[tuple[Cut, T]]:
    config = recognizer.config
    running: list[_Running] = []
    while True:
        room = config.max_streams - len(running)
        for cut in itertools.islice(cuts, room):
            running.append(_open(recognizer, cut))
            cost.audio_seconds += cut.duration
        if not running:
            return
        with cost.measured():
            for r in running:
                chunk_N = next(r.chunks, None)
                if chunk_N is None:
                    r.stream.finish()
                else:
                    r.stream.accept(chunk_N, r.rate)
            recognizer.step([r.stream for r in running])
            done = [(r.cut, outcome(r)) for r in running if r.stream.finished]
        for r in running:
            if r.stream.finished:
                cost.add_work(recognizer.model.encoder, r.stream.encoder_state)
        running = [r for r in running if not r.stream.finished]
        yield from done


def _open(recognizer: StreamingRecognizer, cut: Cut) -> _Running:
    chunks = chunks_of(cut, recognizer.config.chunk_seconds)
    return _Running(cut, recognizer.create_stream(), chunks, cut.sampling_rate)


def chunks_of(cut: Cut, seconds: float) -> Iterator[Tensor]:
    """A cut's samples (N,), read at once, in chunks of `seconds`; channels are averaged.

    Raises:
        DataError: its audio cannot be read; names its id.
    """
    try:
        samples_CN = torch.from_numpy(cut.load_audio())
    except Exception as e:  # lhotse's readers raise many kinds
        raise DataError(
            f"cut {cut.id}: its audio cannot be read: {str(e).splitlines()[0] if str(e) else e!r}",
            "bring the corpus back to where stage 1 found it, or run stage 1 again",
        ) from e
    length = max(1, round(seconds * cut.sampling_rate))
    return iter(samples_CN.mean(0).split(length))


def hyp_line(cut: Cut, result: Result) -> dict[str, Any]:
    """One line of hyp.jsonl; times in seconds, rounded to a tenth of a millisecond.

    Words are `TimedWord`, which JSON writes as lists.
    """
    supervisions = cut.supervisions
    first = supervisions[0] if supervisions else None
    line = {
        "id": cut.id,
        "speaker": (first and first.speaker) or "",
        "ref": " ".join(s.text for s in supervisions if s.text),
        "hyp": result.text,
        "duration": round(cut.duration, 4),
        "tokens": list(result.pieces),
        "token_times": [round(t, 4) for t in result.token_times],
        "hyp_words": [TimedWord(w.word, round(w.start, 4), round(w.end, 4)) for w in result.words],
        "ref_words": spoken_words(cut),
        "final_time": None if result.final_time is None else round(result.final_time, 4),
    }
    if any((s.custom or {}).get("private") for s in supervisions):
        line["private"] = True
    return line


def spoken_words(cut: Cut) -> list[TimedWord] | None:
    """Words with start and end from the cut's start, s; None unless known of every supervision."""
    words = []
    for supervision in cut.supervisions:
        alignment = (supervision.alignment or {}).get("word")
        if alignment is None:
            return None
        words += [TimedWord(a.symbol, round(a.start, 4), round(a.end, 4)) for a in alignment]
    return words

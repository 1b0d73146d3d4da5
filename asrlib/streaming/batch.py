"""Decode a set of cuts: many streams at a time, each fed in chunks like live audio.

Shape suffixes: N samples.
"""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from lhotse.cut import Cut
from torch import Tensor

from asrlib.data.membership import Membership
from asrlib.encoders.base import HasCost, StreamingEncoder
from asrlib.errors import DataError
from asrlib.streaming.recognizer import StreamingRecognizer
from asrlib.streaming.result import Result
from asrlib.streaming.stream import Stream
from asrlib.text.turns import Turn
from asrlib.text.words import TimedWord

DECODE_VERSION = 5  # raised when the output of `decode` changes; see asrlib/stamps.py
T = TypeVar("T")


@dataclass
class Cost:
    """Time and computation that decoding took. The time to read audio files is not counted.

    Attributes:
        audio_seconds: seconds of audio decoded, without the tail padding.
        cpu_seconds, wall_seconds: CPU and wall-clock seconds in features, model and search.
        multiplications: number of multiplications made by an encoder that can skip computation.
        full_multiplications: number of multiplications that the same encoder makes if it skips
            nothing. Both numbers are 0 for encoders that cannot skip computation.
        shares: the first number divided by the second, for each cut, until the caller takes it out;
            empty for encoders that cannot skip computation.
    """

    audio_seconds: float = 0.0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    multiplications: float = 0.0
    full_multiplications: float = 0.0
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def compute_share(self) -> float | None:
        """Fraction of the full computation that was made; None if the encoder cannot skip any."""
        if not self.full_multiplications:
            return None
        return self.multiplications / self.full_multiplications

    def add_work(self, cut: str, encoder: StreamingEncoder, state: Any) -> None:
        """Add the multiplications of a cut's finished stream, if its encoder counts them."""
        if isinstance(encoder, HasCost):
            spent, full = encoder.work(state)
            self.multiplications += spent
            self.full_multiplications += full
            if full:
                self.shares[cut] = spent / full

    @property
    def real_time(self) -> float:
        """Wall-clock seconds per second of audio."""
        return self.wall_seconds / self.audio_seconds if self.audio_seconds else 0.0

    @property
    def peak_memory_mb(self) -> float:
        """Largest resident memory of this process so far, in MiB, model included."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add the CPU and wall-clock time that the body of the `with` statement takes."""
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
    recognizer: StreamingRecognizer, cuts: Iterable[Cut], membership: Membership | None = None
) -> tuple[Iterator[tuple[Cut, Result]], Cost]:
    """Decode cuts, at most `max_streams` at a time; when one ends, the next one starts.

    Args:
        recognizer: the recogniser.
        cuts: the cuts, with audio.
        membership: the cohorts of the speakers, for a model that knows cohorts; None if they are
            not known.

    Returns:
        An iterator over the cuts with their final results, in order of completion, and the cost,
        which is complete when the iterator is exhausted.

    Raises:
        ConfigError: there are memberships, but the model does not know cohorts.
        DataError: the audio of a cut cannot be read; the message names the cut.
    """
    if membership is not None:
        recognizer.check_cohorts()
    cost = Cost()

    def result(r: _Running) -> Result:
        return recognizer.result(r.stream)

    return _decode(recognizer, iter(cuts), cost, result, membership), cost


def decode_turns(
    recognizer: StreamingRecognizer, cuts: Iterable[Cut]
) -> tuple[Iterator[tuple[Cut, list[Turn]]], Cost]:
    """Decode cuts as `decode_cuts` does, with a model of several talkers.

    Returns:
        An iterator over the cuts with their turns, whose session is the id of the cut, and the
        cost.
    """
    cost = Cost()

    def turns(r: _Running) -> list[Turn]:
        return recognizer.turns(r.stream, r.cut.id)

    return _decode(recognizer, iter(cuts), cost, turns), cost


def _decode(
    recognizer: StreamingRecognizer,
    cuts: Iterator[Cut],
    cost: Cost,
    outcome: Callable[[_Running], T],
    membership: Membership | None = None,
) -> Iterator[tuple[Cut, T]]:
    config = recognizer.config
    running: list[_Running] = []
    while True:
        room = config.max_streams - len(running)
        for cut in itertools.islice(cuts, room):
            cohort = None if membership is None else membership.cohort(cut)
            running.append(_open(recognizer, cut, cohort))
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
                cost.add_work(r.cut.id, recognizer.model.encoder, r.stream.encoder_state)
        running = [r for r in running if not r.stream.finished]
        yield from done


def _open(recognizer: StreamingRecognizer, cut: Cut, cohort: str | None) -> _Running:
    chunks = chunks_of(cut, recognizer.config.chunk_seconds)
    return _Running(cut, recognizer.create_stream(cohort), chunks, cut.sampling_rate)


def chunks_of(cut: Cut, seconds: float) -> Iterator[Tensor]:
    """Read the samples (N,) of a cut, average its channels, and split them into chunks.

    Args:
        seconds: length of a chunk in seconds; the last one may be shorter.

    Raises:
        DataError: the audio of the cut cannot be read; the message names the cut.
    """
    try:
        samples_CN = torch.from_numpy(cut.load_audio())
    except Exception as e:  # lhotse's readers raise many kinds
        raise DataError(
            f"cut {cut.id}: its audio cannot be read: {str(e).splitlines()[0] if str(e) else e!r}",
            "move the corpus back to where stage 1 found it, or run stage 1 again",
        ) from e
    length = max(1, round(seconds * cut.sampling_rate))
    return iter(samples_CN.mean(0).split(length))


def hyp_line(cut: Cut, result: Result, work: float | None = None) -> dict[str, Any]:
    """Build a line of hyp.jsonl; its times are in seconds, rounded to 0.1 ms.

    Words are `TimedWord`, which JSON writes as lists.

    Args:
        work: multiplications that the encoder made, divided by those of the full computation;
            None for an encoder that cannot skip computation.
    """
    supervisions = cut.supervisions
    first = supervisions[0] if supervisions else None
    line: dict[str, Any] = {
        "id": cut.id,
        "speaker": (first and first.speaker) or "",
        "ref": " ".join(s.text for s in supervisions if s.text),
        "hyp": result.text,
        "duration": round(cut.duration, 4),
        "tokens": list(result.pieces),
        "token_times": [round(t, 4) for t in result.token_times],
        "hyp_words": [TimedWord(w.word, round(w.start, 4), round(w.end, 4)) for w in result.words],
        "confidences": [round(c, 4) for c in result.confidences],
        "ref_words": spoken_words(cut),
        "final_time": None if result.final_time is None else round(result.final_time, 4),
    }
    if any(s.alternatives for s in result.segments):
        line["n_best"] = [
            [{"text": a.text, "score": round(a.score, 4)} for a in s.alternatives]
            for s in result.segments
        ]
    if work is not None:
        line["encoder_work"] = round(work, 4)
    if any((s.custom or {}).get("private") for s in supervisions):
        line["private"] = True
    return line


def spoken_words(cut: Cut) -> list[TimedWord] | None:
    """Return the spoken words of a cut with start and end, in seconds from the cut's start.

    Returns None unless every supervision of the cut has a word alignment.
    """
    words = []
    for supervision in cut.supervisions:
        alignment = (supervision.alignment or {}).get("word")
        if alignment is None:
            return None
        words += [TimedWord(a.symbol, round(a.start, 4), round(a.end, 4)) for a in alignment]
    return words

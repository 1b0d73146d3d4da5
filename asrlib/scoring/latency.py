"""Latency of recognised words, in stream time: a property of the model, not of the machine.

The symbol delay of a correctly recognised word is the time at which its last token was emitted
minus the time at which the word ended in the audio. The finalisation latency of an utterance is the
time at which its result was final minus the end of its last word; it includes the trailing silence
up to the endpoint. Both definitions are our choice.

If the times of the reference words are not known, two systems can still be compared: by how much
later one of them emitted the words that both recognised correctly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from asrlib.json_record import JsonRecord
from asrlib.scoring.wer import Aligned
from asrlib.spool import FloatSpool

_BIN_MS = 40.0


@dataclass(frozen=True)
class Histogram(JsonRecord):
    """Histogram of latencies.

    Attributes:
        start: lower edge of the first bin, in ms.
        bin: width of a bin, in ms.
        counts: number of latencies in each bin.
    """

    start: float
    bin: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class LatencySummary(JsonRecord):
    """Number of latencies; their mean, median, 90th percentile and histogram, in ms."""

    count: int
    mean: float
    p50: float
    p90: float
    histogram: Histogram


@dataclass(frozen=True)
class LatencyScores(JsonRecord):
    """Summaries of the latencies of a set.

    Attributes:
        symbol_delay_ms, finalisation_ms: None if there is no such latency.
        skipped_utterances: number of utterances whose word times do not match their words.
    """

    symbol_delay_ms: LatencySummary | None
    finalisation_ms: LatencySummary | None
    skipped_utterances: int


@dataclass(frozen=True)
class Latency:
    """Latencies of a decoded utterance, in milliseconds.

    Attributes:
        symbol_delays: one value for each correctly recognised word.
        finalisations: one value if the utterance has a word and a final time.
        skipped: 1 if the word times do not match the words, else 0.
    """

    symbol_delays: tuple[float, ...]
    finalisations: tuple[float, ...]
    skipped: int


class LatencyMeter:
    """Collects the latencies of the utterances with known word times, on disk."""

    def __init__(self) -> None:
        self._delays, self._finalisations = FloatSpool(), FloatSpool()
        self._known = self._skipped = 0

    def close(self) -> None:
        """Delete what was collected."""
        self._delays.close()
        self._finalisations.close()

    def add(self, a: Aligned) -> None:
        """Add an utterance."""
        if a.utterance.ref_words is None:
            return
        found = latency_of(a)
        self._known += 1
        self._skipped += found.skipped
        self._delays.extend(found.symbol_delays)
        self._finalisations.extend(found.finalisations)

    def scores(self) -> LatencyScores | None:
        """Summarise the latencies for scores.json; None if no word times are known."""
        if not self._known:
            return None
        return LatencyScores(_summary(self._delays), _summary(self._finalisations), self._skipped)


def latency_of(a: Aligned) -> Latency:
    """Latencies of one utterance; none where its word times are unknown or disagree."""
    utterance, ref_words = a.utterance, a.utterance.ref_words
    if ref_words is None:
        return Latency((), (), 0)
    if utterance.ref != tuple(w.word for w in ref_words):
        return Latency((), (), 1)
    final = ()
    if utterance.final_time is not None and ref_words:
        final = (1000 * (utterance.final_time - max(w.end for w in ref_words)),)
    if not _timed(a):
        return Latency((), final, 1)
    return Latency(tuple(1000 * (end - ref_words[i].end) for i, end in _correct(a)), final, 0)


def correct_words(aligned: Iterable[Aligned]) -> dict[tuple[str, int], float]:
    """Find the stream time at which each correctly recognised word was emitted.

    Utterances whose word times do not match their words are left out.

    Returns:
        Times in seconds, by (utterance id, index of the word in the reference).
    """
    return {(a.utterance.id, i): end for a in aligned if _timed(a) for i, end in _correct(a)}


def lags_ms(a: Mapping[tuple[str, int], float], b: Mapping[tuple[str, int], float]) -> list[float]:
    """List how much later `b` than `a` emitted each word that both recognised correctly, in ms.

    Args:
        a, b: results of `correct_words`.
    """
    return [1000 * (end - a[word]) for word, end in b.items() if word in a]


def _timed(a: Aligned) -> bool:
    return a.utterance.hyp == tuple(w.word for w in a.utterance.hyp_words)


def _correct(a: Aligned) -> list[tuple[int, float]]:
    hyp_words = a.utterance.hyp_words
    return [
        (op.ref, hyp_words[op.hyp].end)
        for op in a.ops
        if op.kind == "C" and op.hyp is not None and op.ref is not None
    ]


def summarise(values_ms: Iterable[float]) -> LatencySummary | None:
    """Summarise latencies, with 40 ms wide histogram bins; None if there are no values."""
    with closing(FloatSpool()) as values:
        values.extend(values_ms)
        return _summary(values)


def _summary(values: FloatSpool) -> LatencySummary | None:
    if not len(values):
        return None
    first, last = (
        int(np.floor(end / _BIN_MS))
        for end in (min(b.min() for b in values.blocks()), max(b.max() for b in values.blocks()))
    )
    counts = np.zeros(last - first + 1, np.int64)
    for block in values.blocks():
        bins = np.floor(block / _BIN_MS).astype(int) - first
        counts += np.bincount(bins, minlength=len(counts))
    histogram = Histogram(first * _BIN_MS, _BIN_MS, tuple(counts.tolist()))
    return LatencySummary(
        len(values), values.mean(), values.quantile(0.5), values.quantile(0.9), histogram
    )

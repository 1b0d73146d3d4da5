"""Latency of recognised words, in stream time: a property of the model, not of the machine.

The symbol delay of a correctly recognised word is the time at which its last token was emitted
minus the time at which the word ended in the audio. The finalisation latency of an utterance is the
time at which its result was final minus the end of its last word; it includes the trailing silence
up to the endpoint. Both definitions are our choice.

If the times of the reference words are not known, two systems can still be compared: by how much
later one of them emitted the words that both recognised correctly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asrlib.json_record import JsonRecord
from asrlib.scoring.wer import Aligned

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
    """Summaries of a `Latency`.

    Attributes:
        symbol_delay_ms, finalisation_ms: None if there is no such latency.
        skipped_utterances: number of utterances whose word times do not match their words.
    """

    symbol_delay_ms: LatencySummary | None
    finalisation_ms: LatencySummary | None
    skipped_utterances: int


@dataclass(frozen=True)
class Latency:
    """Latencies of a decoded set, in milliseconds.

    Attributes:
        symbol_delays: one value for each correctly recognised word.
        finalisations: one value for each utterance that has a word and a final time.
        skipped: number of utterances whose word times do not match their words.
    """

    symbol_delays: tuple[float, ...]
    finalisations: tuple[float, ...]
    skipped: int

    def scores(self) -> LatencyScores:
        """Summarise the latencies for scores.json."""
        return LatencyScores(
            summarise(self.symbol_delays), summarise(self.finalisations), self.skipped
        )


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


def measure_latency(aligned: Iterable[Aligned]) -> Latency | None:
    """Measure the latencies of the utterances with known word times; None if there are none."""
    known = [a for a in aligned if a.utterance.ref_words is not None]
    if not known:
        return None
    found = [latency_of(a) for a in known]
    return Latency(
        tuple(ms for one in found for ms in one.symbol_delays),
        tuple(ms for one in found for ms in one.finalisations),
        sum(one.skipped for one in found),
    )


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


def summarise(values_ms: Sequence[float]) -> LatencySummary | None:
    """Summarise latencies, with 40 ms wide histogram bins; None if there are no values."""
    if not values_ms:
        return None
    values = np.asarray(values_ms)
    p50, p90 = np.quantile(values, [0.5, 0.9])
    first = int(np.floor(values.min() / _BIN_MS))
    counts = np.bincount(np.floor(values / _BIN_MS).astype(int) - first)
    histogram = Histogram(first * _BIN_MS, _BIN_MS, tuple(counts.tolist()))
    return LatencySummary(len(values), float(values.mean()), float(p50), float(p90), histogram)

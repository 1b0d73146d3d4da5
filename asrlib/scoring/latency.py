"""How late words come: in stream time, so that it is a property of the model, not the machine.

Symbol delay of a correctly recognised word: the time at which its last token came out minus the
time at which the word ended in the audio. Finalisation latency of an utterance: the time at which
its result was final minus the end of its last word. Both are ours to define; the second includes
trailing silence up to the endpoint. Where it is not known when words were spoken, two systems can
still be told apart by the words that both have right: how much later one wrote them.
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
    """How many latencies fall into each bin.

    Attributes:
        start: lower edge of the first bin, in ms.
        bin: width of a bin, in ms.
    """

    start: float
    bin: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class LatencySummary(JsonRecord):
    """Number, mean, median, 90th percentile and distribution of latencies, in ms."""

    count: int
    mean: float
    p50: float
    p90: float
    histogram: Histogram


@dataclass(frozen=True)
class LatencyScores(JsonRecord):
    """Summaries of a `Latency`; None of nothing."""

    symbol_delay_ms: LatencySummary | None
    finalisation_ms: LatencySummary | None
    skipped_utterances: int


@dataclass(frozen=True)
class Latency:
    """Latencies in milliseconds.

    Attributes:
        symbol_delays: one per correctly recognised word.
        finalisations: one per utterance that has a word and a final time.
        skipped: utterances whose word times do not agree with their words.
    """

    symbol_delays: tuple[float, ...]
    finalisations: tuple[float, ...]
    skipped: int

    def scores(self) -> LatencyScores:
        """What stands in scores.json."""
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
    """Latencies over all utterances whose word times are known; None where none are."""
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
    """Stream time (s) at which each correctly recognised word came out, by utterance and place in
    the reference. Utterances whose word times do not agree with their words are left out."""
    return {(a.utterance.id, i): end for a in aligned if _timed(a) for i, end in _correct(a)}


def lags_ms(a: Mapping[tuple[str, int], float], b: Mapping[tuple[str, int], float]) -> list[float]:
    """How much later than `a` (`correct_words`) `b` wrote each word that both have right, ms."""
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
    """Mean, median, 90th percentile and a histogram of 40 ms bins; None of nothing."""
    if not values_ms:
        return None
    values = np.asarray(values_ms)
    p50, p90 = np.quantile(values, [0.5, 0.9])
    first = int(np.floor(values.min() / _BIN_MS))
    counts = np.bincount(np.floor(values / _BIN_MS).astype(int) - first)
    histogram = Histogram(first * _BIN_MS, _BIN_MS, tuple(counts.tolist()))
    return LatencySummary(len(values), float(values.mean()), float(p50), float(p90), histogram)

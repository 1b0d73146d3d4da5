"""How late words come: in stream time, so that it is a property of the model, not the machine.

Symbol delay of a correctly recognised word: the time at which its last token came out minus the
time at which the word ended in the audio. Finalisation latency of an utterance: the time at which
its result was final minus the end of its last word. Both are ours to define; the second includes
trailing silence up to the endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asrlib.scoring.wer import Aligned

_BIN_MS = 40.0


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

    def to_json(self) -> dict[str, Any]:
        return {
            "symbol_delay_ms": summarise(self.symbol_delays),
            "finalisation_ms": summarise(self.finalisations),
            "skipped_utterances": self.skipped,
        }


def measure_latency(aligned: Iterable[Aligned]) -> Latency | None:
    """Latencies over all utterances whose word times are known; None where none are."""
    known = [a for a in aligned if a.utterance.ref_words is not None]
    if not known:
        return None
    delays: list[float] = []
    finalisations: list[float] = []
    skipped = 0
    for a in known:
        utterance = a.utterance
        ref_words = utterance.ref_words or ()
        if utterance.ref != tuple(w.word for w in ref_words):
            skipped += 1
            continue
        if utterance.final_time is not None and ref_words:
            finalisations.append(1000 * (utterance.final_time - max(w.end for w in ref_words)))
        if utterance.hyp == tuple(w.word for w in utterance.hyp_words):
            delays.extend(_symbol_delays(a))
        else:
            skipped += 1
    return Latency(tuple(delays), tuple(finalisations), skipped)


def _symbol_delays(a: Aligned) -> list[float]:
    hyp_words, ref_words = a.utterance.hyp_words, a.utterance.ref_words or ()
    return [
        1000 * (hyp_words[op.hyp].end - ref_words[op.ref].end)
        for op in a.ops
        if op.kind == "C" and op.hyp is not None and op.ref is not None
    ]


def summarise(values_ms: Sequence[float]) -> dict[str, Any] | None:
    """Mean, median, 90th percentile and a histogram of 40 ms bins; None of nothing."""
    if not values_ms:
        return None
    values = np.asarray(values_ms)
    p50, p90 = np.quantile(values, [0.5, 0.9])
    first = int(np.floor(values.min() / _BIN_MS))
    counts = np.bincount(np.floor(values / _BIN_MS).astype(int) - first)
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "p50": float(p50),
        "p90": float(p90),
        "histogram": {"start": first * _BIN_MS, "bin": _BIN_MS, "counts": counts.tolist()},
    }

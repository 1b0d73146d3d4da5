"""How late the starts and ends of turns are noticed: latencies of turn symbols.

By the rules of arXiv 2205.05199: `<sot>` against the true start of a turn, `<eot>` against its true
end, in sessions whose turns were counted right; and beside the paper, against that end, when the
recogniser handed the turn out: a beam's best path may have an `<eot>` that was not on it at the
time. Where the paper is silent: turns are paired channel
by channel where the counts agree so, else in order of start over both channels; symbols count
where the labels have one, so neither a channel's first start nor its last end; those that were not
emitted are told apart.

Shapes: S sessions, V latencies, R replicates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asrlib.scoring.bootstrap import Interval, Resampling, interval_of, resample_sums
from asrlib.scoring.latency import LatencySummary, summarise
from asrlib.text.turns import Turn


@dataclass(frozen=True)
class Pointing:
    """Symbols of one kind in one session.

    Attributes:
        ms: latencies of those that were emitted; below zero: before the turn started or ended.
        expected: how many the truth has.
    """

    ms: tuple[float, ...] = ()
    expected: int = 0


@dataclass(frozen=True)
class PointingSummary(LatencySummary):
    """Symbols of one kind in several sessions.

    Attributes:
        expected: how many the truth has; `count` of them were emitted.
        p50_interval: of the median, in ms.
    """

    expected: int
    p50_interval: Interval | None


def point(true: Sequence[Turn], recognised: Sequence[Turn]) -> tuple[Pointing, Pointing, Pointing]:
    """Starts, ends and handing out of a session's turns; nothing where it was counted wrong."""
    if len(true) != len(recognised):
        return Pointing(), Pointing(), Pointing()
    first, last = {}, {}
    for turn in sorted(true, key=lambda t: t.start):
        first.setdefault(turn.channel, turn)
        last[turn.channel] = turn
    pairs = pair_turns(true, recognised)
    starts = [(t.start, h.sot_time) for t, h in pairs if t is not first[t.channel]]
    closed = [(t, h) for t, h in pairs if t is not last[t.channel]]
    return (
        _pointing(starts),
        _pointing([(t.end, h.eot_time) for t, h in closed]),
        _pointing([(t.end, h.closed_time) for t, h in closed]),
    )


def _pointing(pairs: Sequence[tuple[float, float | None]]) -> Pointing:
    """Of true times and those of their symbols, s."""
    return Pointing(tuple(1000 * (h - t) for t, h in pairs if h is not None), len(pairs))


def pair_turns(true: Sequence[Turn], recognised: Sequence[Turn]) -> list[tuple[Turn, Turn]]:
    """True and recognised turns of a session counted right, as the head of this file says."""
    sides = (true, recognised)
    by_channel = tuple(sorted(side, key=lambda t: (t.channel, t.start)) for side in sides)
    if [t.channel for t in by_channel[0]] == [t.channel for t in by_channel[1]]:
        sides = by_channel
    return list(zip(*sides, strict=True))


def summarise_pointing(
    sessions: Mapping[str, Pointing], resampling: Resampling
) -> PointingSummary | None:
    """Mean, quantiles, an interval of the median, and how many of the symbols were emitted.

    Args:
        sessions: symbols by session, of all sessions of the set; sessions are resampled.

    Returns:
        None where no symbol was emitted.
    """
    summary = summarise([ms for p in sessions.values() for ms in p.ms])
    if summary is None:
        return None
    values = {session: p.ms for session, p in sessions.items()}
    return PointingSummary(
        **vars(summary),
        expected=sum(p.expected for p in sessions.values()),
        p50_interval=interval_of(_replicate_medians(values, resampling), resampling),
    )


def compare_medians(
    a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]], resampling: Resampling
) -> Interval | None:
    """Interval of the median of B minus that of A, ms, the same sessions resampled for both.

    Raises:
        ValueError: the sessions differ.
    """
    if set(a) != set(b):
        raise ValueError("both systems need the same sessions")
    medians = (_replicate_medians(values, resampling) for values in (b, a))
    return interval_of(np.subtract(*medians), resampling)


def _replicate_medians(values: Mapping[str, Sequence[float]], resampling: Resampling) -> np.ndarray:
    """Medians of all latencies of R resampled sets of sessions; NaN of none."""
    sessions = sorted(values)
    ranked = sorted((ms, s) for s, session in enumerate(sessions) for ms in values[session])
    if not ranked:
        return np.full(resampling.replicates, np.nan)
    of_SV = np.zeros((len(sessions), len(ranked)))
    of_SV[[s for _, s in ranked], np.arange(len(ranked))] = 1
    counted_RV = resample_sums(of_SV, resampling).cumsum(axis=1)
    half_R1, ms_V = counted_RV[:, -1:] / 2, np.array([ms for ms, _ in ranked])
    middle_2R = [f(counted_RV, half_R1).argmax(axis=1) for f in (np.greater_equal, np.greater)]
    medians_R = ms_V[np.stack(middle_2R)].mean(axis=0)
    return np.where(counted_RV[:, -1] > 0, medians_R, np.nan)

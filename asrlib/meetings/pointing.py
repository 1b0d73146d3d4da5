"""Latencies of turn symbols ("pointing latencies"): how late turn starts and ends are detected.

The rules of arXiv 2205.05199 are: the time of `<sot>` is compared with the true start of the turn,
the time of `<eot>` with its true end, in sessions whose turn count is correct. We add a third
latency: the time at which the recogniser output the finished turn, compared with its true end. With
beam search the two differ, since the final best path may contain an `<eot>` that was not on the
best path at that time.

Where the paper gives no rule, these are our choices. Turns are paired channel by channel if the
counts of the channels agree, otherwise in order of start time over both channels. Only symbols that
the training labels contain are measured, so the first start and the last end of each channel are
not. Symbols that were not emitted are counted separately.

Shapes: S is the number of sessions, V the number of latencies, R the number of draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asrlib.scoring.gaps import Resampling, interval_of, resample_sums
from asrlib.scoring.latency import LatencySummary, summarise
from asrlib.scoring.speaker_sums import Interval
from asrlib.text.turns import Turn


@dataclass(frozen=True)
class Pointing:
    """Latencies of the turn symbols of one kind in one session.

    Attributes:
        ms: latencies of the emitted symbols, in ms; a negative latency means that the symbol came
            before the turn started or ended.
        expected: number of symbols in the reference.
    """

    ms: tuple[float, ...] = ()
    expected: int = 0


@dataclass(frozen=True)
class PointingSummary(LatencySummary):
    """Latencies of the turn symbols of one kind in several sessions.

    Attributes:
        expected: number of symbols in the reference; `count` of them were emitted.
        p50_interval: interval of the median, in ms.
    """

    expected: int
    p50_interval: Interval | None


def point(true: Sequence[Turn], recognised: Sequence[Turn]) -> tuple[Pointing, Pointing, Pointing]:
    """Measure the latencies of the turns of one session.

    Returns:
        Latencies of `<sot>`, of `<eot>` and of the output of finished turns; all three are empty
        if the turn count is wrong.
    """
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
    """Compute latencies from pairs of a true time and the time of its symbol, in seconds."""
    return Pointing(tuple(1000 * (h - t) for t, h in pairs if h is not None), len(pairs))


def pair_turns(true: Sequence[Turn], recognised: Sequence[Turn]) -> list[tuple[Turn, Turn]]:
    """Pair the true with the recognised turns of a session, as the module docstring says."""
    sides = (true, recognised)
    by_channel = tuple(sorted(side, key=lambda t: (t.channel, t.start)) for side in sides)
    if [t.channel for t in by_channel[0]] == [t.channel for t in by_channel[1]]:
        sides = by_channel
    return list(zip(*sides, strict=True))


def summarise_pointing(
    sessions: Mapping[str, Pointing], resampling: Resampling
) -> PointingSummary | None:
    """Summarise latencies over sessions, with an interval of the median.

    Args:
        sessions: latencies by session, for all sessions of the set; sessions are drawn.

    Returns:
        The summary; None if no symbol was emitted.
    """
    summary = summarise([ms for p in sessions.values() for ms in p.ms])
    if summary is None:
        return None
    values = {session: p.ms for session, p in sessions.items()}
    return PointingSummary(
        **vars(summary),
        expected=sum(p.expected for p in sessions.values()),
        p50_interval=interval_of(_drawn_medians(values, resampling), _counted(values), resampling),
    )


def compare_medians(
    a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]], resampling: Resampling
) -> Interval | None:
    """Compute the interval of the median of B minus the median of A, in ms.

    Each draw uses the same sessions for both systems.

    Args:
        a, b: latencies by session, in ms, one mapping for each system.

    Raises:
        ValueError: the two mappings have different sessions.
    """
    if set(a) != set(b):
        raise ValueError("both systems need the same sessions")
    medians = (_drawn_medians(values, resampling) for values in (b, a))
    fewest = min(_counted(a), _counted(b))
    return interval_of(np.subtract(*medians), fewest, resampling)


def _counted(values: Mapping[str, Sequence[float]]) -> int:
    """Number of sessions with a latency."""
    return sum(1 for session in values.values() if session)


def _drawn_medians(values: Mapping[str, Sequence[float]], resampling: Resampling) -> np.ndarray:
    """Compute the median latency of R drawn sets of sessions; a set without any gives NaN."""
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

"""Systems on the same sessions, two at a time: errors, turns counted right, latencies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from asrlib.errors import DataError
from asrlib.experiments.runs import split_seed
from asrlib.meetings.pointing import compare_medians
from asrlib.meetings.score import MeetingScores, SessionRow
from asrlib.report.document import Table
from asrlib.report.format import COMPARISON, DASH, comparison_cells, interval
from asrlib.scoring.bootstrap import Resampling, compare_speakers
from asrlib.scoring.score import ScoreConfig
from asrlib.scoring.wer import ErrorRate

SWEEP = re.compile(r"(.+_eot-a)[0-9.]+(-g[0-9.]+)?")
_TURNS = (
    *("systems", "search", "turns right, points", "interval", "p", "right by both"),
    *("start p50 ms", "difference, interval", "end p50 ms", "difference, interval"),
)


@dataclass(frozen=True)
class MeetingRun:
    """One scored decode of a meeting set."""

    name: str
    test_set: str
    search: str
    directory: Path
    scores: MeetingScores

    @property
    def family(self) -> str:
        """Its name without the seed."""
        return split_seed(self.name)[0]

    def sessions(self) -> dict[str, SessionRow]:
        """What was found in each session, by its id."""
        return {s.session: s for s in self.scores.sessions}


Sides = Sequence[tuple[MeetingRun, MeetingRun]]  # A and B, a pair for each seed


def pair_tables(runs: Sequence[MeetingRun], config: ScoreConfig) -> list[Table]:
    """ORC-WER of the pairs of `score.pairs` and of sweeps; and their turns, with latencies in the
    sessions whose turns both counted right. The same sessions are resampled for both systems,
    seeds that both have are taken together.

    Raises:
        DataError: two systems were scored on different sessions.
    """
    errors, turns = [], []
    for sides in _pairs(runs, config):
        (a, b), *_ = sides
        names = (f"{b.family} against {a.family}", a.search)
        rates_a, rates_b = (_rates(runs) for runs in zip(*sides, strict=True))
        result = compare_speakers(rates_a, rates_b, config.resampling)
        errors.append((*names, *comparison_cells(result)))
        turns.append((*names, *_turn_cells(sides, config.resampling)))
    if not errors:
        return []
    header = ("systems", "search", "ORC-WER difference", *COMPARISON)
    return [Table(header, tuple(errors), 2), Table(_TURNS, tuple(turns), 2)]


def _pairs(runs: Sequence[MeetingRun], config: ScoreConfig) -> Iterator[Sides]:
    found: dict[tuple[str, str], dict[int | None, MeetingRun]] = {}
    for run in runs:
        found.setdefault((run.family, run.search), {})[split_seed(run.name)[1]] = run
    for search in sorted({r.search for r in runs}):
        for names in (*config.pairs, *_of_sweeps(runs)):
            a, b = (found.get((name, search), {}) for name in names)
            sides = [(a[seed], b[seed]) for seed in a if seed in b]
            if not sides:
                continue
            if len({frozenset(run.sessions()) for pair in sides for run in pair}) > 1:
                raise DataError(
                    f"{names[0]} and {names[1]}, {search}: scored on different sessions",
                    "decode and score both again with --force",
                )
            yield sides


def _of_sweeps(runs: Sequence[MeetingRun]) -> list[tuple[str, str]]:
    """What `steps/sweep_eot.sh` left: each penalty beside none."""
    matches = (SWEEP.fullmatch(name) for name in sorted({r.family for r in runs}))
    return [(f"{m[1]}0", m[0]) for m in matches if m and m[0] != f"{m[1]}0"]


def _rates(runs: Sequence[MeetingRun]) -> dict[str, ErrorRate]:
    """Errors of each session, of all runs."""
    of_runs = [run.sessions() for run in runs]
    return {id: ErrorRate.sum(found[id].orcwer for found in of_runs) for id in of_runs[0]}


def _turn_cells(sides: Sides, resampling: Resampling) -> tuple[str, ...]:
    sessions = [[run.sessions() for run in pair] for pair in sides]
    both = [
        {id for id in pair[0] if all(side[id].counted_right for side in pair)} for pair in sessions
    ]
    wrong_a, wrong_b = (_counted_wrong(found) for found in zip(*sessions, strict=True))
    counted = compare_speakers(wrong_a, wrong_b, resampling)
    ends = counted.interval and [0.0 - end for end in reversed(counted.interval)]
    return (
        f"{0.0 - counted.difference:+.1f}",
        interval(ends, sign="+"),
        f"{counted.p_value:.4f}",
        str(sum(map(len, both))),
        *_latency_cells(sessions, both, lambda s: s.start_pointing_ms, resampling),
        *_latency_cells(sessions, both, lambda s: s.end_pointing_ms, resampling),
    )


def _counted_wrong(of_seeds: Sequence[Mapping[str, SessionRow]]) -> dict[str, ErrorRate]:
    """For how many of a system's seeds the turns of each session were counted wrong."""
    return {
        id: ErrorRate.sum(
            ErrorRate(substitutions=int(not found[id].counted_right), words=1) for found in of_seeds
        )
        for id in of_seeds[0]
    }


def _latency_cells(
    sessions: Sequence[Sequence[Mapping[str, SessionRow]]],
    both: Sequence[set[str]],
    latencies: Callable[[SessionRow], Sequence[float]],
    resampling: Resampling,
) -> tuple[str, str]:
    """Medians of A and B with the number of symbols, and the difference's interval.

    Args:
        sessions: of each seed, of A and of B: what was found in each session.
        both: of each seed, the sessions that count.
        latencies: those of a session, in ms.
    """
    a: dict[str, list[float]] = {}
    b: dict[str, list[float]] = {}
    for pair, ids in zip(sessions, both, strict=True):
        for side, found in zip((a, b), pair, strict=True):
            for id in ids:
                side.setdefault(id, []).extend(latencies(found[id]))
    values = [[ms for found in side.values() for ms in found] for side in (a, b)]
    if not all(values):
        return DASH, DASH
    ends = compare_medians(a, b, resampling)
    medians = " → ".join(f"{median(v):.0f} ({len(v)})" for v in values)
    difference = median(values[1]) - median(values[0])
    return medians, f"{difference:+.0f} {interval(ends, 0, '+')}"

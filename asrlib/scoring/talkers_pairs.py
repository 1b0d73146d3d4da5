"""Systems on the same mixtures, two at a time: errors, turns counted right, latencies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from asrlib.errors import DataError
from asrlib.scoring.bootstrap import Resampling, compare_speakers
from asrlib.scoring.cells import COMPARISON, DASH, comparison_cells, interval
from asrlib.scoring.document import Table
from asrlib.scoring.pointing import compare_medians
from asrlib.scoring.score import ScoreConfig
from asrlib.scoring.wer import ErrorRate

_KINDS = ("insertions", "deletions", "substitutions", "words")
SWEEP = re.compile(r"(.+_eot-a)[0-9.]+(-g[0-9.]+)?")
_TURNS = (
    *("systems", "search", "turns right, points", "interval", "p", "right by both"),
    *("start p50 ms", "difference, interval", "end p50 ms", "difference, interval"),
)


@dataclass(frozen=True)
class MeetingRun:
    """One scored decode of a mixture set."""

    name: str
    test_set: str
    search: str
    directory: Path
    scores: dict[str, Any]

    def sessions(self) -> dict[str, dict[str, Any]]:
        return {s["session"]: s for s in self.scores["sessions"]}


def pair_tables(runs: Sequence[MeetingRun], config: ScoreConfig) -> list[Table]:
    """ORC-WER of the pairs of `score.pairs` and of sweeps; and their turns, with latencies in the
    mixtures whose turns both counted right. The same mixtures are resampled for both systems.

    Raises:
        DataError: two systems were scored on different mixtures.
    """
    errors, turns = [], []
    for a, b in _pairs(runs, config):
        names = (f"{b.name} against {a.name}", a.search)
        rates = (_rates(run.sessions()) for run in (a, b))
        errors.append((*names, *comparison_cells(compare_speakers(*rates, config.resampling))))
        turns.append((*names, *_turn_cells(a.sessions(), b.sessions(), config.resampling)))
    if not errors:
        return []
    header = ("systems", "search", "ORC-WER difference", *COMPARISON)
    return [Table(header, tuple(errors), 2), Table(_TURNS, tuple(turns), 2)]


def _pairs(
    runs: Sequence[MeetingRun], config: ScoreConfig
) -> Iterator[tuple[MeetingRun, MeetingRun]]:
    found = {(r.name, r.search): r for r in runs}
    for search in sorted({r.search for r in runs}):
        for names in (*config.pairs, *_of_sweeps(runs)):
            a, b = (found.get((name, search)) for name in names)
            if a is None or b is None:
                continue
            if set(a.sessions()) != set(b.sessions()):
                raise DataError(
                    f"{a.name} and {b.name}, {search}: scored on different mixtures",
                    "decode and score both again with --force",
                )
            yield a, b


def _of_sweeps(runs: Sequence[MeetingRun]) -> list[tuple[str, str]]:
    """What `steps/sweep_eot.sh` left: each penalty beside none."""
    matches = (SWEEP.fullmatch(name) for name in sorted({r.name for r in runs}))
    return [(f"{m[1]}0", m[0]) for m in matches if m and m[0] != f"{m[1]}0"]


def _rates(sessions: Mapping[str, Mapping[str, Any]]) -> dict[str, ErrorRate]:
    return {n: ErrorRate(**{k: s["orcwer"][k] for k in _KINDS}) for n, s in sessions.items()}


def _turn_cells(
    a: Mapping[str, Mapping[str, Any]], b: Mapping[str, Mapping[str, Any]], resampling: Resampling
) -> tuple[str, ...]:
    right = [{name for name, s in side.items() if s["turns"] == s["recognised"]} for side in (a, b)]
    wrong = ({n: ErrorRate(substitutions=int(n not in r), words=1) for n in a} for r in right)
    counted = compare_speakers(*wrong, resampling)
    wrong_ends = counted.interval and counted.interval.percent()
    ends = wrong_ends and [0.0 - end for end in reversed(wrong_ends)]
    both = right[0] & right[1]
    return (
        f"{0.0 - 100 * counted.difference:+.1f}",
        interval(ends, sign="+"),
        f"{counted.p_value:.4f}",
        str(len(both)),
        *_latency_cells(a, b, both, "start_pointing_ms", resampling),
        *_latency_cells(a, b, both, "end_pointing_ms", resampling),
    )


def _latency_cells(
    a: Mapping[str, Mapping[str, Any]],
    b: Mapping[str, Mapping[str, Any]],
    both: set[str],
    key: str,
    resampling: Resampling,
) -> tuple[str, str]:
    """Medians of A and B with the number of symbols, and the difference's interval."""
    sides = [{name: side[name][key] for name in both} for side in (a, b)]
    values = [[ms for found in side.values() for ms in found] for side in sides]
    if not all(values):
        return DASH, DASH
    ends = compare_medians(*sides, resampling)
    medians = " → ".join(f"{median(v):.0f} ({len(v)})" for v in values)
    difference = median(values[1]) - median(values[0])
    return medians, f"{difference:+.0f} {interval(ends and [ends.low, ends.high], 0, '+')}"

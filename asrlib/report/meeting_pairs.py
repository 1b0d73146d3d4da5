"""Systems on the same sessions, two at a time: errors, turns counted right, latencies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from asrlib.experiments.declared import declared_keys, why_not
from asrlib.experiments.run_record import RunRecord
from asrlib.experiments.run_scores import MAIN_PLAN
from asrlib.experiments.runs import plan_of
from asrlib.experiments.systems import group_systems
from asrlib.meetings.pointing import compare_medians
from asrlib.meetings.score import MeetingScores, SessionRow
from asrlib.report.document import Block, Table, Text
from asrlib.report.format import COMPARISON, DASH, comparison_cells, interval
from asrlib.scoring.gaps import Resampling, compare_speakers
from asrlib.scoring.score import ScoreConfig
from asrlib.scoring.wer import ErrorRate

_TURNS = (
    *("systems", "search", "turns right, points", "interval", "p", "right by both"),
    *("start p50 ms", "difference, interval", "end p50 ms", "difference, interval"),
)


@dataclass(frozen=True)
class MeetingRun:
    """One scored decode of a meeting set; `record` is None of a run that left none."""

    name: str
    record: RunRecord | None
    test_set: str
    search: str
    directory: Path
    scores: MeetingScores

    def sessions(self) -> dict[str, SessionRow]:
        """What was found in each session, by its id."""
        return {s.session: s for s in self.scores.sessions}


Sides = Sequence[tuple[MeetingRun, MeetingRun]]  # A and B, a pair for each seed
Named = tuple[str, str]  # labels of A and B


def pair_tables(
    runs: Sequence[MeetingRun], config: ScoreConfig, references: Mapping[str, str | None]
) -> list[Block]:
    """ORC-WER of pairs of systems; and their turns, with latencies in the sessions whose turns
    both counted right. Differences are taken session by session, and seeds that both have are taken
    together.

    Of runs outside plans the pairs are those of `score.pairs`; of a plan each system is paired
    with the plan's reference.

    Args:
        references: by plan, the model of the reference; None or no entry: the first by name.
    """
    errors, turns, refused = [], [], []
    for (name_a, name_b), sides in _pairs(runs, config, references):
        (a, _), *_ = sides
        names = (f"{name_b} against {name_a}", a.search)
        if reason := _reason(sides):
            refused.append(f"- {', '.join(names)}: {reason}")
            continue
        rates_a, rates_b = (_rates(runs) for runs in zip(*sides, strict=True))
        result = compare_speakers(rates_a, rates_b, config.confidence)
        errors.append((*names, *comparison_cells(result)))
        turns.append((*names, *_turn_cells(sides, config.resampling)))
    header = ("systems", "search", "ORC-WER difference", *COMPARISON)
    blocks: list[Block] = []
    if errors:
        blocks += [Table(header, tuple(errors), 2), Table(_TURNS, tuple(turns), 2)]
    if refused:
        blocks.append(Text("\n".join(["Not compared:", *refused])))
    return blocks


def _pairs(
    runs: Sequence[MeetingRun], config: ScoreConfig, references: Mapping[str, str | None]
) -> Iterator[tuple[Named, Sides]]:
    for plan, search in sorted({(plan_of(r), r.search) for r in runs}):
        own = [r for r in runs if (plan_of(r), r.search) == (plan, search)]
        systems = group_systems(own, lambda r: r.record, lambda r: r.name)
        pairs: Sequence[Named] = config.pairs
        if plan != MAIN_PLAN:
            reference = references.get(plan)
            named = [
                label
                for label, (run, *_) in systems.items()
                if reference in (label, run.record and run.record.model)
            ]
            first = (named or [*systems])[0]
            pairs = [(first, other) for other in systems if other != first]
        for a, b in pairs:
            ours, theirs = (
                {r.record.seed if r.record else None: r for r in systems.get(name, ())}
                for name in (a, b)
            )
            sides = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
            if sides:
                yield (a, b), sides


def _reason(sides: Sides) -> str | None:
    """Why two systems are not compared; None where they may be."""
    if len({frozenset(run.sessions()) for pair in sides for run in pair}) > 1:
        return "scored on different sessions; decode and score both again with --force"
    records = [run.record for pair in sides for run in pair if run.record is not None]
    declared = declared_keys(records)
    for a, b in sides:
        decoded = a.scores.meta.config, b.scores.meta.config
        if reason := why_not(a.record, b.record, declared, *decoded):
            return reason
    return None


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
    counted = compare_speakers(wrong_a, wrong_b, resampling.confidence)
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

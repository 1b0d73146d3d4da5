"""Compare two verification systems on the same trials, with the same draws of speakers.

A system may have several runs, one for each training seed. Each run has its own scores and its own
threshold, and a figure of the system is the mean over its runs. Speakers are resampled; the
variance over seeds is added to theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from asrlib.errors import DataError
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import Interval, t_quantile
from asrlib.verification.bootstrap import Replicated, mean_of
from asrlib.verification.groups import ALL, Column, Impostors, everyone
from asrlib.verification.inequality import comparable, spread, worst_and_best
from asrlib.verification.measure import METRICS, Evidence, GroupFigures, Metric
from asrlib.verification.records import (
    Change,
    GroupChanges,
    Verification,
    VerificationComparison,
)
from asrlib.verification.score import VERIFICATION_FILE
from asrlib.verification.scores import SCORES_FILE, ScoredTrials

_ROUNDING = 1e-20  # a variance of fractions that is nothing but rounding
_FIX = "run python -m asrlib score-verification with --scores again"


@dataclass(frozen=True)
class VerificationRun:
    """One scored run.

    Attributes:
        directory: directory of verification.json and scores.npz.
        result: content of verification.json.
        scored: the trials with their scores.
    """

    directory: Path
    result: Verification
    scored: ScoredTrials

    @classmethod
    def read(cls, directory: Path) -> VerificationRun:
        """Read a directory that `score-verification` wrote.

        Raises:
            DataError: a file is missing or broken.
        """
        result = Verification.from_file(directory / VERIFICATION_FILE, _FIX)
        return cls(directory, result, ScoredTrials.read(directory / SCORES_FILE))


def compare_runs(
    baseline: Sequence[VerificationRun],
    other: Sequence[VerificationRun],
    make_columns: Callable[[Sequence[str]], Sequence[Column]],
    impostors: Impostors,
    min_speakers: int,
    resampling: Resampling,
) -> VerificationComparison:
    """Compare the runs of two systems.

    Args:
        baseline, other: runs of the two systems, one or more for each.
        make_columns: divides the speakers, sorted by name, into groups.
        impostors: which impostor trials belong to a group.
        min_speakers: smallest number of speakers with which a group takes part in the gaps.
        resampling: settings of the bootstrap.

    Raises:
        DataError: the runs were not scored on the same trials.
    """
    before, after = (
        measure_runs(runs, make_columns, impostors, min_speakers, resampling)
        for runs in (baseline, other)
    )
    return compare_measured(before, after)


@dataclass(frozen=True)
class Measured:
    """The figures of a system's runs, with replicates that two systems share.

    Attributes:
        first: the first run, for its trials.
        names: of the runs.
        speakers: number of speakers that were resampled.
        figures: by column, then by group.
        resampling: settings of the bootstrap.
    """

    first: VerificationRun
    names: tuple[str, ...]
    speakers: int
    figures: _Side
    resampling: Resampling


def measure_runs(
    runs: Sequence[VerificationRun],
    make_columns: Callable[[Sequence[str]], Sequence[Column]],
    impostors: Impostors,
    min_speakers: int,
    resampling: Resampling,
) -> Measured:
    """Measure one system; see `compare_runs`."""
    first = runs[0]
    for run in runs[1:]:
        _check_same_trials(first, run)
    speakers = sorted(set(first.scored.speakers))
    total, columns = everyone(len(speakers)), make_columns(speakers)
    figures = _measure(runs, total, columns, impostors, min_speakers, resampling)
    names = tuple(run.result.name for run in runs)
    return Measured(first, names, len(speakers), figures, resampling)


def compare_measured(
    baseline: Measured, other: Measured, small_groups: bool = True
) -> VerificationComparison:
    """Compare two systems that were measured alike; see `compare_runs`.

    Args:
        baseline, other: the two systems.
        small_groups: whether groups of too few speakers to take part in the gaps are compared.
    """
    _check_same_trials(baseline.first, other.first)
    before, after = baseline.figures, other.figures
    confidence = baseline.resampling.confidence
    return VerificationComparison(
        baseline=baseline.names,
        other=other.names,
        speakers=baseline.speakers,
        all=_changes(before[ALL][ALL], after[ALL][ALL], confidence),
        groups={
            name: _group_changes(before[name], after[name], confidence, small_groups)
            for name in before
            if name != ALL
        },
        resampling=baseline.resampling,
    )


def _check_same_trials(a: VerificationRun, b: VerificationRun) -> None:
    names, fix = f"{a.directory} and {b.directory}", "score both on the same embeddings' ids"
    for what, one, two in (
        ("utterances", a.scored.ids, b.scored.ids),
        ("speakers", a.scored.speakers, b.scored.speakers),
    ):
        if one != two:
            different = sorted(set(one) ^ set(two))
            shown = f", first {different[0]}" if different else ""
            raise DataError(f"{names}: have different {what}{shown}", fix)
    ours, theirs = a.scored.trials, b.scored.trials
    pairs = ((ours.enrol_T, theirs.enrol_T), (ours.test_T, theirs.test_T))
    if not all(np.array_equal(one_T, two_T) for one_T, two_T in pairs):
        raise DataError(f"{names}: were scored on different trials", "use the same settings")


@dataclass(frozen=True)
class _Figure:
    """A figure of a system: that of each of its runs."""

    runs: tuple[Replicated, ...]

    @cached_property
    def mean(self) -> Replicated:
        return mean_of(self.runs)

    @property
    def each(self) -> tuple[float, ...]:
        return tuple(one.value for one in self.runs)

    def minus(self, other: _Figure) -> _Figure:
        """Subtract another figure of the same system, run by run."""
        pairs = zip(self.runs, other.runs, strict=True)
        return _Figure(tuple(a.minus(b) for a, b in pairs))


# By column, then by group: the figures of the first run, and those over all runs by metric.
_Group = tuple[GroupFigures, Mapping[Metric, _Figure]]
_Side = dict[str, dict[str, _Group]]


def _measure(
    runs: Sequence[VerificationRun],
    total: Column,
    columns: Sequence[Column],
    impostors: Impostors,
    min_speakers: int,
    resampling: Resampling,
) -> _Side:
    of_runs: list[dict[str, dict[str, GroupFigures]]] = []
    for run in runs:
        fixed = run.result.threshold
        threshold = None if fixed is None else fixed.value
        evidence = Evidence.of(run.scored, threshold, resampling)
        side = {ALL: evidence.measure(total, "same_group", min_speakers)}
        if impostors == "enrolled":
            evidence = Evidence.of(run.scored, threshold, resampling, both_orders=True)
        for column in columns:
            side[column.name] = evidence.measure(column, impostors, min_speakers)
        of_runs.append(side)
    return {
        name: {
            value: (figures, _over_runs([s[name][value].replicated for s in of_runs]))
            for value, figures in groups.items()
        }
        for name, groups in of_runs[0].items()
    }


def _over_runs(of_runs: Sequence[Mapping[Metric, Replicated]]) -> dict[Metric, _Figure]:
    shared = [m for m in METRICS if all(m in figures for figures in of_runs)]
    return {m: _Figure(tuple(figures[m] for figures in of_runs)) for m in shared}


def _changes(before: _Group, after: _Group, confidence: float) -> dict[str, Change]:
    (_, ours), (_, theirs) = before, after
    return {
        metric: _change(ours[metric], theirs[metric], confidence)
        for metric in METRICS
        if metric in ours and metric in theirs
    }


def _change(before: _Figure, after: _Figure, confidence: float) -> Change:
    difference = after.mean.minus(before.mean)
    values = before.mean.value, after.mean.value
    # Two systems without an error have no replicate that differs, which is no evidence of equality.
    same_end = values[0] == values[1] and values[0] in (0.0, 1.0)
    ends = None if same_end else _interval(difference, before.each, after.each, confidence)
    paired = len(before.each) == len(after.each)
    each = zip(before.each, after.each, strict=True) if paired else ()
    return Change(
        baseline=100 * values[0],
        other=100 * values[1],
        difference=100 * difference.value,
        interval=ends and ends.percent(),
        each=tuple(100 * (b - a) for a, b in each),
    )


def _interval(
    difference: Replicated, before: Sequence[float], after: Sequence[float], confidence: float
) -> Interval | None:
    """The interval for other speakers and, where there are several runs, for other seeds.

    The variances by speakers and by seeds are added, which counts what the two share twice: the
    interval is rather too wide `[our choice]`. Its degrees of freedom are Satterthwaite's.
    """
    if difference.speakers < 2:
        return None
    terms = [(difference.standard_error**2, difference.speakers - 1)]
    if len(before) == len(after):
        sides = [np.subtract(after, before)]
    else:
        sides = [np.array(before), np.array(after)]
    terms += [(float(x.var(ddof=1)) / len(x), len(x) - 1) for x in sides if len(x) > 1]
    total = sum(variance for variance, _ in terms)
    if total < _ROUNDING:  # all speakers differ alike: few of them, or the same system twice
        alike = difference.value == 0 and difference.speakers > 2
        return Interval(0.0, 0.0) if alike else None
    freedom = total**2 / sum(variance**2 / count for variance, count in terms)
    half = t_quantile(confidence, freedom) * math.sqrt(total)
    return Interval(difference.value - half, difference.value + half)


def _group_changes(
    before: dict[str, _Group], after: dict[str, _Group], confidence: float, small_groups: bool
) -> GroupChanges:
    """Compare the groups of a column.

    `GroupChanges.speakers` has the speakers of the group, some of whom may have no target trial.
    """
    gaps, names, spreads = {}, {}, {}
    for metric in METRICS:
        ours, theirs = _comparable(before, metric), _comparable(after, metric)
        if len(ours) < 2 or ours.keys() != theirs.keys():
            continue
        worst, best = worst_and_best({value: figure.mean for value, figure in ours.items()})
        names[metric] = worst, best
        gap_before, gap_after = (s[worst].minus(s[best]) for s in (ours, theirs))
        gaps[metric] = _change(gap_before, gap_after, confidence)
        both = _spread(list(ours.values())), _spread(list(theirs.values()))
        spreads[metric] = _change(*both, confidence)
    shown = {
        value: figures.rates.speakers
        for value, (figures, _) in before.items()
        if small_groups or figures.rates.large_enough
    }
    groups = {value: _changes(before[value], after[value], confidence) for value in shown}
    return GroupChanges(shown, groups, gaps, names, spreads)


def _comparable(groups: Mapping[str, _Group], metric: Metric) -> dict[str, _Figure]:
    """Groups that take part in gaps of a metric."""
    taking_part = comparable({value: figures for value, (figures, _) in groups.items()}, metric)
    return {
        value: of_runs[metric]
        for value, (_, of_runs) in groups.items()
        if value in taking_part and metric in of_runs
    }


def _spread(figures: Sequence[_Figure]) -> _Figure:
    """The standard deviation over groups, run by run."""
    return _Figure(tuple(map(spread, zip(*(figure.runs for figure in figures), strict=True))))

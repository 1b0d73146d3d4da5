"""Word error rate against compute: what `steps/sweep_compute.sh` left, as a table and a plot.

Its trainings are exp/amortized*_sweep*; others take no part. Compute is what decoding spent
(`flops_per_second` of its scores, the arbitrators' work included), CPU time is that of one stream
on one core, from the benchmark of the first seed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from asrlib.errors import DataError
from asrlib.experiments.benchmarks import streaming_speed
from asrlib.experiments.equal_settings import check_equal_settings
from asrlib.experiments.runs import Run, of_set, systems
from asrlib.report import plots
from asrlib.report.document import Block, Figure, Section, Table, Text
from asrlib.report.format import COMPARISON, DASH, comparison_cells, number
from asrlib.scoring.bootstrap import Resampling, speaker_interval
from asrlib.scoring.compare import compare_systems, sum_over_seeds

_MEMBER = re.compile(r"amortized\w*_sweep(-w[0-9.]+)?")
FULL = "amortized_full_sweep"
_HEADER = (
    *("model", "seeds", "WER %", "against full", *COMPARISON),
    *("work done %", "GFLOP/s", "compute saved %", "CPU ms / s of audio", "CPU time saved %"),
)


@dataclass(frozen=True)
class Point:
    """One model of the sweep.

    Attributes:
        runs: a training each, which differ in their seed.
        wer: per cent, the mean.
        ends: of its interval, speakers resampled, seeds taken together; None of one speaker.
        gflops: 1e9 operations a second of audio, as spent; the mean.
        cpu: milliseconds of one core a second of audio, or None where that was not measured.
    """

    name: str
    runs: Sequence[Run]
    wer: float
    ends: Sequence[float] | None
    gflops: float
    cpu: float | None


def sweep_sections(exp: Path, runs: Sequence[Run], resampling: Resampling) -> Iterator[Section]:
    """A section for each test set with two models of the sweep or more, the full one among them."""
    for test_set in sorted({r.test_set for r in runs}):
        found = systems([r for r in of_set(runs, test_set) if _MEMBER.fullmatch(r.family)])
        for search in sorted({search for _, search in found}):
            points = {
                family: _point(exp, family, members, resampling)
                for (family, of), members in found.items()
                if of == search
            }
            if FULL not in points or len(points) < 2:
                continue
            names = [run.name for point in points.values() for run in point.runs]
            check_equal_settings(exp, names, frozenset())
            blocks = _blocks(points, search, resampling)
            yield Section(f"Compute against error on {test_set}", blocks)


def _point(exp: Path, family: str, runs: Sequence[Run], resampling: Resampling) -> Point:
    first = runs[0]
    cpu = streaming_speed(exp, first.name, first.test_set, first.search).cpu_seconds_1
    interval = speaker_interval(sum_over_seeds([r.decoding for r in runs]), resampling)
    return Point(
        family,
        runs,
        mean(100 * r.scores.wer.rate for r in runs),
        interval and interval.percent(),
        mean(map(_flops, runs)) / 1e9,
        cpu and 1000 * cpu,
    )


def _flops(run: Run) -> float:
    flops = run.scores.meta.flops_per_second
    if flops is None:
        directory = run.decoding.directory
        raise DataError(
            f"{directory}/meta.json: does not say flops_per_second",
            "decode and score again with --force",
        )
    return flops


def _blocks(points: Mapping[str, Point], search: str, resampling: Resampling) -> tuple[Block, ...]:
    full = points[FULL]
    ranked = sorted(points.values(), key=lambda p: -p.gflops)
    rows = tuple(_row(point, full, resampling) for point in ranked)
    text = Text(
        f"Search {search}. Differences and savings are over {FULL}; the same speakers are "
        "resampled for both, seeds taken together. `Work done` is the share of the blocks' "
        "multiplications that toggles left on, the cost in the loss; operations a second are "
        "everything's, arbitrators included. Both are counted from the toggles: on a GPU, or "
        "without the compiled operations, all is computed. CPU time is of the first seed, the "
        "models measured in turn."
    )
    panels = {"GFLOP a second of audio": {}, "CPU ms a second of audio, one stream": {}}
    for point in ranked:
        values = (point.gflops, point.cpu)
        for lines, value in zip(panels.values(), values, strict=True):
            if value is not None:
                lines[point.name] = (value, point.wer, point.ends)
    panels = {title: lines for title, lines in panels.items() if lines}
    drawing = Figure(plots.scatter(panels, "WER, %"), "Error against compute and CPU time.")
    return text, Table(_HEADER, rows, 1), drawing


def _row(point: Point, full: Point, resampling: Resampling) -> tuple[str, ...]:
    percents = [100 * r.scores.wer.rate for r in point.runs]
    spread = f" ± {stdev(percents):.2f}" if len(percents) > 1 else ""
    shares = [r.scores.meta.compute_share for r in point.runs]
    known = [share for share in shares if share is not None]
    saved_cpu = None
    if point.cpu is not None and full.cpu:
        saved_cpu = 100 * (1 - point.cpu / full.cpu)
    return (
        point.name,
        str(len(percents)),
        f"{point.wer:.2f}{spread}",
        *_difference(point, full, resampling),
        number(100 * mean(known) if len(known) == len(shares) else None, 1),
        number(point.gflops, 3),
        number(100 * (1 - point.gflops / full.gflops), 1),
        number(point.cpu, 2),
        number(saved_cpu, 1),
    )


def _difference(point: Point, full: Point, resampling: Resampling) -> tuple[str, ...]:
    """The cells of a paired comparison with the full model."""
    if point is full:
        return (DASH,) * (1 + len(COMPARISON))
    a, b = ([r.decoding for r in side.runs] for side in (full, point))
    return comparison_cells(compare_systems(a, b, resampling))

"""Word error rate against compute: what `steps/sweep_compute.sh` left, as a table and a plot.

Runs belong to the sweep when their name begins with that of the amortized Transformer. Compute is
what decoding spent (`flops_per_second` of its scores, the arbitrators' work included), CPU time
is that of one stream on one core, from the benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asrlib.scoring import figures
from asrlib.scoring.cells import DASH, interval, number
from asrlib.scoring.collect import Run, of_set
from asrlib.scoring.document import Block, Figure, Section, Table, Text
from asrlib.scoring.records import read_json

FAMILY = "amortized"
FULL = f"{FAMILY}_full"
_HEADER = (
    *("model", "search", "WER %", "interval", "relative to full %", "work done %"),
    *("GFLOP/s", "compute saved %", "CPU ms / s of audio", "CPU time saved %"),
)


@dataclass(frozen=True)
class Point:
    """One run of the sweep.

    Attributes:
        wer: per cent.
        gflops: 1e9 operations a second of audio, as spent.
        cpu: milliseconds of one core a second of audio, or None where that was not measured.
    """

    run: Run
    wer: float
    gflops: float
    cpu: float | None


def sweep_sections(exp: Path, runs: Sequence[Run]) -> Iterator[Section]:
    """A section for each test set with two runs of the sweep or more, its full model among them."""
    for test_set in sorted({r.test_set for r in runs}):
        members = [r for r in of_set(runs, test_set) if r.family.startswith(FAMILY)]
        for search in sorted({r.search for r in members}):
            points = [_point(exp, r) for r in members if r.search == search]
            full = next((p for p in points if p.run.family == FULL), None)
            if full is None or len(points) < 2:
                continue
            points.sort(key=lambda p: -p.gflops)
            yield Section(f"Compute against error on {test_set}", _blocks(points, full))


def _point(exp: Path, run: Run) -> Point:
    bench = exp / "bench" / f"streaming_{run.name}.json"
    speed = read_json(bench, "run the benchmark again") if bench.exists() else {}
    cpu = speed.get("cpu_seconds_1")
    return Point(
        run,
        run.scores["wer"]["percent"],
        run.scores["cost"]["flops_per_second"] / 1e9,
        cpu and 1000 * cpu,
    )


def _blocks(points: Sequence[Point], full: Point) -> tuple[Block, ...]:
    rows = tuple(_row(point, full) for point in points)
    text = Text(
        f"Savings are over {FULL}. `Work done` is the share of a model's own blocks that its "
        "toggles left on."
    )
    panels = {"GFLOP a second of audio": {}, "CPU ms a second of audio, one stream": {}}
    for point in points:
        values = (point.gflops, point.cpu)
        for lines, value in zip(panels.values(), values, strict=True):
            if value is not None:
                lines[point.run.name] = (value, point.wer, point.run.scores["interval"])
    panels = {title: lines for title, lines in panels.items() if lines}
    drawing = Figure(figures.scatter(panels, "WER, %"), "Error against compute and CPU time.")
    return text, Table(_HEADER, rows, 2), drawing


def _row(point: Point, full: Point) -> tuple[str, ...]:
    share = point.run.scores["cost"].get("compute_share")
    saved_cpu = None
    if point.cpu is not None and full.cpu:
        saved_cpu = 100 * (1 - point.cpu / full.cpu)
    return (
        point.run.name,
        point.run.search,
        number(point.wer, 2),
        interval(point.run.scores["interval"]),
        f"{100 * (point.wer / full.wer - 1):+.1f}" if full.wer else DASH,
        number(None if share is None else 100 * share, 1),
        number(point.gflops, 3),
        number(100 * (1 - point.gflops / full.gflops), 1),
        number(point.cpu, 2),
        number(saved_cpu, 1),
    )

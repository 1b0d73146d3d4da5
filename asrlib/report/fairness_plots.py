"""Drawings about groups of speakers: forest plot, found and confirmed gaps, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from asrlib.report.plots import STYLE, svg_text
from asrlib.report.style import COLOURS, INK, SOFT

_WORST = COLOURS[3]
_MARKS = "ov^DPX<>"  # of mitigations


@dataclass(frozen=True)
class ForestRow:
    """A line of a forest plot.

    Attributes:
        label: name of the group, with its number of speakers.
        rate: error rate of the group, per cent.
        interval: its confidence interval, per cent; None if there is none.
        speakers: the error rate of each speaker, per cent.
        worst: whether the line is drawn in the colour of the worst cohort.
    """

    label: str
    rate: float
    interval: Sequence[float] | None
    speakers: Sequence[float]
    worst: bool = False


def forest(rows: Sequence[ForestRow], overall: float, xlabel: str = "WER, %") -> str:
    """Draw groups with intervals, a dot for each speaker, and a line at the overall rate.

    The axis ends at the highest interval or at the 98th percentile of the speakers, whichever is
    higher, but not beyond twice the highest rate or percentile. Speakers beyond it are drawn at the
    edge; an interval that goes on beyond it, such as one of two speakers, ends in an arrow.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"forest {[r.label for r in rows]}"}):
        canvas = Canvas(figsize=(8.4, 0.9 + 0.38 * len(rows)), layout="constrained")
        axes = canvas.subplots()
        everyone = [rate for row in rows for rate in row.speakers] or [overall]
        ends = [row.interval[1] for row in rows if row.interval] or [overall]
        seen = max(float(np.quantile(everyone, 0.98)), *(row.rate for row in rows), 1e-3)
        edge = 1.05 * min(max(seen, *ends), 2 * seen)
        spread = np.random.default_rng(0)
        for i, row in enumerate(rows):
            colour = _WORST if row.worst else COLOURS[0]
            rates = np.minimum(row.speakers, edge)
            places = i + spread.uniform(-0.22, 0.22, len(rates))
            axes.plot(rates, places, ".", color=colour, alpha=0.45, ms=5, zorder=1)
            if row.interval:
                _interval(axes, row.interval, i, colour, edge)
            axes.plot([row.rate], [i], "o", color=colour, mec="white", ms=8, zorder=3)
        axes.axvline(overall, color=SOFT, ls="--", lw=1)
        axes.annotate(
            f"all {overall:.1f}",
            (overall, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3),
            textcoords="offset points",
            color=SOFT,
            fontsize=8,
        )
        _labels(axes, [row.label for row in rows])
        axes.set_xlim(-0.015 * edge, 1.015 * edge)  # so that no dot is cut
        axes.set_xlabel(xlabel)
        return svg_text(canvas)


@dataclass(frozen=True)
class GapRow:
    """A cohort method's gap, in per cent of the top cohort's rate.

    Attributes:
        label: name of the method.
        found: the gap on the discovery speakers, on which the cohorts were chosen.
        confirmed: the gap on the confirmation speakers; None if it could not be measured.
        interval: confidence interval of the confirmed gap.
        null: 95th percentile of the gap if speakers are permuted among the cohorts.
    """

    label: str
    found: float
    confirmed: float | None
    interval: Sequence[float] | None
    null: float | None


def found_and_confirmed(rows: Sequence[GapRow]) -> str:
    """Draw each method's gap on discovery speakers, on others, and what chance alone would give.

    The axis ends at twice the largest gap at the latest; an interval beyond it ends in an arrow.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"gaps {[r.label for r in rows]}"}):
        canvas = Canvas(figsize=(8.4, 1.3 + 0.5 * len(rows)), layout="constrained")
        axes = canvas.subplots()
        points = [x for r in rows for x in (r.found, r.confirmed, r.null) if x is not None]
        ends = [r.interval[1] for r in rows if r.interval]
        edge = 1.08 * min(max(1.0, *points, *ends), 2 * max(1.0, *points))
        for i, row in enumerate(rows):
            axes.plot(
                [row.found],
                [i],
                "o",
                mfc="white",
                mec=COLOURS[1],
                mew=2,
                ms=8,
                label="found (discovery speakers)",
            )
            if row.interval:
                _interval(axes, row.interval, i, COLOURS[0], edge)
            if row.confirmed is not None:
                axes.plot(
                    [row.confirmed],
                    [i],
                    "o",
                    color=COLOURS[0],
                    ms=8,
                    label="confirmed (other speakers), with interval",
                )
            if row.null is not None:
                axes.plot(
                    [row.null, row.null],
                    [i - 0.3, i + 0.3],
                    color=SOFT,
                    lw=1.4,
                    ls=":",
                    label="95 % of permutations lie below",
                )
        axes.axvline(0, color=SOFT, lw=1)
        axes.set_xlim(right=1.01 * edge)
        _labels(axes, [row.label for row in rows])
        axes.set_xlabel("gap between the bottom and the top cohort, % of the top cohort's WER")
        handles, names = axes.get_legend_handles_labels()
        shown = dict(zip(names, handles, strict=True))
        canvas.legend(
            shown.values(), shown, loc="outside lower left", ncols=2, fontsize=9, borderpad=0
        )
        return svg_text(canvas)


@dataclass(frozen=True)
class Change:
    """A mitigation's effect.

    Attributes:
        label: name of the method.
        rest, bottom: WER of all other speakers and of the bottom cohort after it, per cent.
        control: whether it is a control instead of a method.
    """

    label: str
    rest: float
    bottom: float
    control: bool = False


def before_after(
    start: tuple[float, float],
    changes: Sequence[Change],
    curve: Sequence[tuple[float, float]] = (),
) -> str:
    """Draw the bottom cohort's WER against that of the rest, one arrow for each mitigation.

    Args:
        start: (rest, bottom) of the model before any mitigation, per cent.
        changes: the mitigations.
        curve: (rest, bottom) along the interpolation between the start and the fine-tuned model.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"changes {[c.label for c in changes]}"}):
        canvas = Canvas(figsize=(8.4, 5.2), layout="constrained")
        axes = canvas.subplots()
        if curve:
            axes.plot(*zip(*curve, strict=True), color=SOFT, lw=1.2, ls="--", zorder=1)
            axes.annotate(
                "interpolation", curve[-1], xytext=(7, -14), textcoords="offset points", fontsize=8
            )
        for i, change in enumerate(changes):
            colour = SOFT if change.control else COLOURS[i % len(COLOURS)]
            end = (change.rest, change.bottom)
            axes.annotate(
                "", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6}
            )
            mark = "s" if change.control else _MARKS[i % len(_MARKS)]
            axes.plot(*end, mark, color=colour, ms=7, label=change.label)
        axes.plot(*start, "D", color=INK, ms=7)
        axes.annotate("start", start, xytext=(6, 8), textcoords="offset points", fontsize=9)
        axes.margins(0.15)
        # Beside the drawing, as methods often end close to each other.
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
        axes.set_xlabel("WER of all other speakers, % (further left is better)")
        axes.set_ylabel("WER of the bottom cohort, % (lower is better)")
        return svg_text(canvas)


def _interval(axes: Axes, ends: Sequence[float], at: int, colour: str, edge: float) -> None:
    """A line, with an arrow where it goes on beyond the edge."""
    axes.plot([ends[0], min(ends[1], edge)], [at, at], color=colour, lw=2.2, zorder=2)
    if ends[1] > edge:
        axes.plot([edge], [at], ">", color=colour, ms=7, zorder=2)


def _labels(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels, color=INK)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")

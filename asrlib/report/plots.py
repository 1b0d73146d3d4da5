"""Drawings of the results page, as SVG text: the same data gives the same bytes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from asrlib.experiments.training_log import Curve
from asrlib.report.style import COLOURS, GRID, INK, SOFT
from asrlib.scoring.latency import Histogram

STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text: small, searchable, in the reader's own font
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "axes.prop_cycle": cycler(color=COLOURS),
}
_DASHES = ("-", "--", ":", "-.")
_LONG = 24  # letters of a name beside a point
_FILLED = 3  # histograms: more areas over each other would hide one another


def error_bars(
    labels: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, Sequence[float] | None] | None]],
    xlabel: str,
) -> str:
    """Horizontal bars with intervals: one cluster a label, one colour a series.

    Args:
        labels: names of the clusters, from the top.
        series: name -> (value, [low, high] or None) of each label; None where there is none.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"bars {xlabel} {labels}"}):
        height = 0.9 + len(labels) * (0.16 + 0.2 * len(series))
        canvas = Canvas(figsize=(8.4, height), layout="constrained")
        axes = canvas.subplots()
        thick = 0.8 / len(series)
        for i, (name, values) in enumerate(series.items()):
            places, widths, low, high = [], [], [], []
            for j, point in enumerate(values):
                if point is None:
                    continue
                value, ends = point
                places.append(j - 0.4 + thick * (i + 0.5))
                widths.append(value)
                low.append(max(0.0, value - ends[0]) if ends else 0.0)
                high.append(max(0.0, ends[1] - value) if ends else 0.0)
            colour, alpha = COLOURS[i % len(COLOURS)], 0.6 ** (i // len(COLOURS))
            axes.barh(places, widths, thick * 0.86, label=name, color=colour, alpha=alpha)
            axes.errorbar(widths, places, xerr=[low, high], fmt="none", ecolor=INK, elinewidth=1)
        axes.set_yticks(range(len(labels)), labels, color=INK)
        axes.invert_yaxis()
        known = [point[0] for values in series.values() for point in values if point is not None]
        # An interval of few speakers may reach far beyond every bar.
        axes.set_xlim(0, min(axes.get_xlim()[1], 3 * max(known, default=1) or 1))
        axes.set_xlabel(xlabel)
        axes.grid(visible=False, axis="y")
        if len(series) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
        return svg_text(canvas)


def curves(panels: Mapping[str, Mapping[str, Sequence[Curve]]], xlabel: str) -> str:
    """Line charts side by side: panel title -> name -> the curves of that name, of one colour."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"curves {list(panels)}"}):
        canvas = Canvas(figsize=(4.6 * len(panels), 3.2), layout="constrained")
        looks = line_looks(name for named in panels.values() for name in named)
        for axes, (title, named) in zip(
            canvas.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            for name, lines in named.items():
                for points in lines:
                    dot = "o" if len(points) == 1 else ""
                    shape = {"label": name, "lw": 1.6, "marker": dot, **looks[name]}
                    axes.plot(*zip(*points, strict=True), **shape)
            axes.set_title(title, loc="left", fontsize=10.5)
            axes.set_xlabel(xlabel)
            _fit(axes, [y for lines in named.values() for points in lines for _, y in points])
        legend_below(canvas)
        return svg_text(canvas)


def scatter(
    panels: Mapping[str, Mapping[str, tuple[float, float, Sequence[float] | None]]], ylabel: str
) -> str:
    """Points with vertical intervals, side by side: x title -> name -> (x, y, [low, high]).

    Where a name is long, the points have numbers, and a legend below names them.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"scatter {list(panels)}"}):
        canvas = Canvas(figsize=(5.2 * len(panels), 3.8), layout="constrained")
        numbers = {
            n: i for i, n in enumerate(dict.fromkeys(n for p in panels.values() for n in p), 1)
        }
        brief = max(map(len, numbers), default=0) <= _LONG
        for axes, (title, points) in zip(
            canvas.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            for name, (x, y, ends) in points.items():
                error = [[max(0.0, y - ends[0])], [max(0.0, ends[1] - y)]] if ends else None
                colour = COLOURS[(numbers[name] - 1) % len(COLOURS)]
                label = f"{numbers[name]}  {name}"
                axes.errorbar(
                    [x], [y], yerr=error, fmt="o", color=colour, elinewidth=1, label=label
                )
                shown = name if brief else str(numbers[name])
                axes.annotate(shown, (x, y), xytext=(6, 5), textcoords="offset points", fontsize=8)
            places = [x for x, _, _ in points.values()]
            axes.margins(x=0.2)  # for the names
            if min(places) >= 0:
                axes.set_xlim(0, 1.2 * max(places) or 1)
            axes.set_ylim(
                top=min(axes.get_ylim()[1], 3 * max(y for _, y, _ in points.values()) or 1)
            )
            axes.set_xlabel(title)
            axes.set_ylabel(ylabel)
        if not brief:
            legend_below(canvas)
        return svg_text(canvas)


def line_looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What tells lines apart, the same in every panel: colour, then how the line is broken."""
    return {
        name: {"color": COLOURS[i % len(COLOURS)], "ls": _DASHES[i // len(COLOURS) % len(_DASHES)]}
        for i, name in enumerate(dict.fromkeys(names))
    }


def legend_below(canvas: Canvas) -> None:
    """One legend for all panels, below them; the drawing grows by what it needs."""
    shown = {}
    for axes in canvas.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    width, height = canvas.get_size_inches()
    columns = max(1, int(width / (0.6 + 0.075 * max(map(len, shown)))))
    canvas.set_size_inches(width, height + 0.2 * math.ceil(len(shown) / columns))
    canvas.legend(
        shown.values(), shown, loc="outside lower left", ncols=columns, fontsize=9, borderpad=0
    )


def _fit(axes: Axes, values: Sequence[float]) -> None:
    """Start at zero; a first few huge values must not flatten all the rest."""
    ranked = sorted(values)
    typical = ranked[int(0.9 * (len(ranked) - 1))]
    if ranked and ranked[0] >= 0:
        axes.set_ylim(0, 1.1 * min(ranked[-1], 3 * typical) or 1)


def histograms(panels: Mapping[str, Mapping[str, Histogram]]) -> str:
    """Step histograms of latencies side by side: panel title -> series -> its histogram."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"histograms {list(panels)}"}):
        canvas = Canvas(figsize=(4.6 * len(panels), 3.2), layout="constrained")
        looks = line_looks(name for series in panels.values() for name in series)
        for axes, (title, series) in zip(
            canvas.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            ends = []
            for name, shape in series.items():
                counts = shape.counts
                edges = [shape.start + i * shape.bin for i in range(len(counts) + 1)]
                shares = [100 * n / sum(counts) for n in counts]
                if len(series) <= _FILLED:
                    axes.stairs(shares, edges, fill=True, alpha=0.22, color=looks[name]["color"])
                axes.stairs(shares, edges, label=name, lw=1.6, **looks[name])
                ends.append(_tails(edges, counts))
            # A few far outliers would leave the rest a needle.
            axes.set_xlim(min(e[0] for e in ends), max(e[1] for e in ends))
            axes.set_title(title, loc="left", fontsize=10.5)
            axes.set_xlabel("milliseconds")
            axes.set_ylabel("share, %")
        legend_below(canvas)
        return svg_text(canvas)


def _tails(edges: Sequence[float], counts: Sequence[int]) -> tuple[float, float]:
    """Edges between which all but half a per cent at each end lies."""
    total, seen = sum(counts), 0
    low, high = edges[0], edges[-1]
    for i, count in enumerate(counts):
        if seen <= 0.005 * total < seen + count:
            low = edges[i]
        if seen < 0.995 * total <= seen + count:
            high = edges[i + 1]
        seen += count
    return low, high


def svg_text(canvas: Canvas) -> str:
    """The drawing as an <svg> element: the same drawing, the same bytes."""
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = text.replace("<svg ", '<svg class="drawing" ', 1)
    used = set(re.findall(r"#([\w-]+)", text))  # other ids would stand twice on a page
    text = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())

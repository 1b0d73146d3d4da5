"""Figures as the cells of a results table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asrlib.experiments.runs import Run
from asrlib.scoring.bootstrap import Comparison

DASH = "–"


def number(value: float | None, digits: int) -> str:
    """A figure, or a dash where there is none."""
    return DASH if value is None else f"{value:,.{digits}f}"


def interval(ends: Sequence[float] | None, digits: int = 2, sign: str = "") -> str:
    """`[low, high]`, or a dash where there is none."""
    return f"[{ends[0]:{sign}.{digits}f}, {ends[1]:{sign}.{digits}f}]" if ends else DASH


def quantiles(summary: Mapping[str, Any] | None, sign: str = "") -> str:
    """Median and 90th percentile of `latency.summarise`, or a dash where there is none."""
    return f"{summary['p50']:{sign}.0f} / {summary['p90']:{sign}.0f}" if summary else DASH


def params(run: Run) -> str:
    """Parameters that decoding uses, in millions."""
    parameters = run.scores["cost"]["parameters"] or {}
    used = [parameters[k] for k in ("encoder", "predictor", "joiner") if k in parameters]
    return number(sum(used) / 1e6 if used else None, 2)


# Titles of `comparison_cells`, after those of the systems and the search.
COMPARISON = ("interval", "relative %", "P(better)", "p")


def comparison_cells(result: Comparison) -> tuple[str, ...]:
    """Difference in points, its interval, relative difference, P(better) and p."""
    ends = result.interval and result.interval.percent()
    return (
        f"{100 * result.difference:+.2f}",
        interval(ends, sign="+"),
        DASH if result.relative is None else f"{100 * result.relative:+.1f}",
        f"{result.improvement:.3f}",
        f"{result.p_value:.4f}",
    )

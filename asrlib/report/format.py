"""Figures as the cells of a results table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from asrlib.scoring.confusions import mean_of_speakers, worst_tenth
from asrlib.scoring.gaps import Comparison
from asrlib.scoring.groups import Gap
from asrlib.scoring.latency import LatencySummary
from asrlib.scoring.wer import ErrorRate

if TYPE_CHECKING:
    from asrlib.experiments.run_record import GitState  # of which the audit knows nothing
    from asrlib.experiments.runs import Run

DASH = "–"
OPEN = 9999  # per cent, points or ms: a higher end says no more than that there is none


def number(value: float | None, digits: int, scale: float = 1) -> str:
    """A figure times `scale`, or a dash where there is none."""
    return DASH if value is None else f"{scale * value:,.{digits}f}"


def interval(ends: Sequence[float] | None, digits: int = 2, sign: str = "") -> str:
    """`[low, high]`, or a dash where there is none; few speakers leave the high end open."""
    if not ends:
        return DASH
    low, high = (f"{end:{sign}.{digits}f}" for end in ends)
    return f"[{low}, {high if ends[1] < OPEN else f'> {OPEN}'}]"


def quantiles(summary: LatencySummary | None, sign: str = "") -> str:
    """Median and 90th percentile in ms, or a dash where there is none."""
    return f"{summary.p50:{sign}.0f} / {summary.p90:{sign}.0f}" if summary else DASH


def symbol_delay(run: Run) -> str:
    """Median and 90th percentile of the symbol delay in ms, or a dash where it is not known."""
    latency = run.scores.latency
    return quantiles(latency.symbol_delay_ms if latency else None)


def gflops(run: Run, digits: int) -> str:
    """1e9 floating-point operations per second of audio, or a dash where nobody counted."""
    spent = run.scores.meta.flops_per_second
    return number(spent and spent / 1e9, digits)


def params(run: Run) -> str:
    """Parameters that decoding uses, in millions."""
    parameters = run.scores.meta.parameters
    return number(parameters.decoding / 1e6 if parameters else None, 2)


# Titles of `comparison_cells`, after those of the systems and the search.
COMPARISON = ("interval", "relative %", "p")


def comparison_cells(result: Comparison) -> tuple[str, ...]:
    """Difference in points, its interval, relative difference and p."""
    return (
        f"{result.difference:+.2f}",
        interval(result.interval, sign="+"),
        DASH if result.relative is None else f"{result.relative:+.1f}",
        f"{result.p_value:.4f}",
    )


# Titles of `speaker_cells`.
BY_SPEAKER = ("mean of speakers, WER %", "worst tenth of speakers, WER %")


def speaker_cells(by_speaker: Mapping[str, ErrorRate]) -> tuple[str, ...]:
    """How far the worst speakers are from the others."""
    worst = worst_tenth(by_speaker).percent
    return number(mean_of_speakers(by_speaker), 2), number(worst, 2)


# Titles of `gap_cells`, after those that name what was compared.
GAP = ("worst / best", "points", "interval", "gap %", "interval", "chance %", "p", "detectable %")


def gap_cells(gap: Gap) -> tuple[str, ...]:
    """The worst against the best group, with what chance alone shows and what would show."""
    return (
        f"{gap.worst} / {gap.best}",
        f"{gap.difference:+.2f}",
        interval(gap.difference_interval, 1, "+"),
        DASH if gap.gap is None else f"{gap.gap:+.0f}",
        interval(gap.gap_interval, 0, "+"),
        "any" if gap.null_gap is None else f"{gap.null_gap:+.0f}",
        f"{gap.p_value:.4f}",
        "none" if gap.detectable is None else f"{gap.detectable:+.0f}",
    )


def place(latitude: float, longitude: float) -> str:
    """A place as people write it, to a tenth of a degree."""
    return f"{degrees('latitude', latitude)} {degrees('longitude', longitude)}"


def degrees(axis: str, value: float) -> str:
    """A latitude or longitude with its side, to a tenth of a degree."""
    letters = "NS" if axis == "latitude" else "EW"
    return f"{abs(value):.1f}° {letters[value < 0]}"


def commit_of(git: GitState | None) -> str:
    """The first digits of a commit, and whether files differed from it."""
    return DASH if git is None else git.commit[:7] + (" and changes" if git.dirty else "")

"""Speaker verification on the results page: a table of systems, tables by group, the DET plot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Canvas
from scipy.special import ndtri

from asrlib.cohorts.places import hidden
from asrlib.errors import DataError
from asrlib.experiments.runs import Skipped
from asrlib.report import plots
from asrlib.report.document import Block, Figure, Section, Table, Text
from asrlib.report.format import DASH, interval, number
from asrlib.report.style import SOFT
from asrlib.verification.groups import COHORT
from asrlib.verification.measure import TITLES
from asrlib.verification.records import Disparity, EqualErrorRate, GroupTable, Rate, Verification
from asrlib.verification.score import VERIFICATION_FILE

_TICKS = (0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 80)  # per cent
# What two results have in common of which one has cohorts, too.
_SAME = ("run", "trials", "impostors", "threshold", "targets", "impostor_trials")


def collect_verification(
    exp: Path, public: bool = False
) -> tuple[list[Verification], list[Skipped]]:
    """Read all verification results of a recipe, and say which of them cannot be read.

    What was scored twice on a set, without cohorts and with them, is one result with all groups.

    Args:
        public: whether cohorts of few speakers may be shown.
    """
    found: dict[tuple[str, str], Verification] = {}
    skipped = []
    for path in sorted(exp.glob(f"*/*/{VERIFICATION_FILE}")):
        try:
            one = Verification.from_file(path, "score verification again")
        except DataError as e:
            skipped.append(Skipped(path.parent.relative_to(exp.parent).as_posix(), e.what))
            continue
        one = one if public else _without_small(one)
        key = path.parent.parent.name, one.set
        known = found.get(key, one)
        if any(getattr(known, name) != getattr(one, name) for name in _SAME):
            where = path.parent.relative_to(exp.parent).as_posix()
            told = f"{where}: is of other trials or another training than what is shown"
            skipped.append(Skipped(where, told))
            continue
        found[key] = replace(known, groups={**known.groups, **one.groups})
    return list(found.values()), skipped


def _without_small(one: Verification) -> Verification:
    """Hide cohorts of few speakers."""
    groups = {}
    for column, table in one.groups.items():
        hide = {g.value for g in table.groups if hidden(g.speakers, public=False)}
        if column.startswith(COHORT) and hide:
            left = {m: d for m, d in table.disparities.items() if not {d.worst, d.best} & hide}
            table = GroupTable(tuple(g for g in table.groups if g.value not in hide), left)
        groups[column] = table
    return replace(one, groups=groups)


def verification_sections(
    found: Sequence[Verification], detailed: Collection[str] | None = None
) -> list[Section]:
    """Describe the results of all systems, by test set; none without results.

    Args:
        detailed: names of the systems whose groups and curves are shown; None: of all.
    """
    return [
        section
        for test_set in sorted({s.set for s in found})
        for section in _set_sections(test_set, [s for s in found if s.set == test_set], detailed)
    ]


def _set_sections(
    test_set: str, systems: Sequence[Verification], detailed: Collection[str] | None
) -> list[Section]:
    first = systems[0]
    text = Text(
        f"{first.speakers:,} speakers, {first.utterances:,} utterances, {first.targets:,} target "
        f"and {first.impostor_trials:,} impostor trials. One threshold for all speakers, fixed on "
        f"dev speakers. In brackets: {100 * first.resampling.confidence:g} % intervals, speakers "
        "of both sides resampled."
    )
    blocks: list[Block] = [text, _systems_table(systems)]
    systems = [s for s in systems if detailed is None or s.name in detailed]
    curves = {s.name: s.det for s in systems if s.det}
    if curves:
        blocks.append(det_figure(curves, {s.name: s.eer for s in systems if s.eer}))
    sections = [Section(f"Speaker verification on {test_set}", tuple(blocks))]
    tables = [block for s in systems for block in _group_tables(s)]
    if tables:
        title = f"Speaker verification by group on {test_set}"
        sections.append(Section(title, tuple(tables), 3))
    return sections


def _systems_table(systems: Sequence[Verification]) -> Table:
    header = ("system", "misses %", "false alarms %", "threshold", "EER %", "minDCF")
    rows = [
        (
            s.name,
            _cell(s.misses),
            _cell(s.false_alarms),
            number(s.threshold.value if s.threshold else None, 4),
            _cell(s.eer),
            number(s.min_dcf, 3),
        )
        for s in systems
    ]
    return Table(header, tuple(rows))


def _group_tables(system: Verification) -> list[Block]:
    blocks: list[Block] = []
    for column, table in system.groups.items():
        header = (f"{system.name}: {column}", "speakers", *(f"{m} %" for m in TITLES.values()))
        rows = [
            (
                g.value + ("" if g.large_enough else " *"),
                str(g.speakers),
                *(_cell(rate) for rate in (g.misses, g.false_alarms, g.eer)),
            )
            for g in table.groups
        ]
        found = [table.disparities.get(metric) for metric in TITLES]
        rows += [
            ("worst - best", "", *(_gap(d) for d in found)),
            ("by chance below", "", *(number(d.chance if d else None, 2) for d in found)),
            ("worst / best", "", *(_ratio(d) for d in found)),
            ("spread", "", *(number(d.spread if d else None, 2) for d in found)),
        ]
        last = frozenset(range(len(table.groups), len(rows)))
        blocks.append(Table(header, tuple(rows), 1, last))
    return blocks


def _cell(rate: Rate | EqualErrorRate | None) -> str:
    if rate is None or rate.percent is None:
        return DASH
    return f"{rate.percent:.2f} {interval(rate.interval)}"


def _gap(found: Disparity | None) -> str:
    if found is None:
        return DASH
    return f"{found.worst} - {found.best}: {found.gap:.2f} {interval(found.gap_interval, sign='+')}"


def _ratio(found: Disparity | None) -> str:
    if found is None or found.ratio is None:
        return DASH
    return f"× {found.ratio:.2f} {interval(found.ratio_interval)}"


def det_figure(
    curves: Mapping[str, Sequence[tuple[float, float]]], eers: Mapping[str, EqualErrorRate]
) -> Figure:
    """Draw DET curves, with a caption that says in words what they show.

    Args:
        curves: by system: false alarm and miss rates in per cent.
        eers: equal error rates by system.
    """
    ranked = sorted(eers, key=lambda name: eers[name].percent)
    rates = "; ".join(f"{name} {eers[name].percent:.2f} %" for name in ranked)
    caption = (
        "Misses against false alarms at every threshold (DET curves; lower is better). Equal "
        f"error rates, on the dashed line: {rates}."
    )
    return Figure(det_plot(curves), caption, "DET curves")


def det_plot(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw DET curves on axes of normal deviates, as SVG text.

    Args:
        curves: by system: false alarm and miss rates in per cent.
    """
    low, high = (float(ndtri(p / 100)) for p in (_TICKS[0] / 2, 90))
    with matplotlib.rc_context({**plots.STYLE, "svg.hashsalt": f"det {list(curves)}"}):
        canvas = Canvas(figsize=(5.6, 4.9), layout="constrained")
        axes = canvas.subplots()
        axes.plot([low, high], [low, high], color=SOFT, lw=0.8, ls="--")
        looks = plots.line_looks(curves)
        for name, points in curves.items():
            rates_K2 = np.clip(np.array(points) / 100, 1e-6, 1 - 1e-6)
            axes.plot(*ndtri(rates_K2).T, label=name, lw=1.6, **looks[name])
        places = [float(ndtri(p / 100)) for p in _TICKS]
        labels = [f"{p:g}" for p in _TICKS]
        axes.set_xticks(places, labels)
        axes.set_yticks(places, labels)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_aspect("equal")
        axes.set_xlabel("false alarms, %")
        axes.set_ylabel("misses, %")
        plots.legend_below(canvas)
        return plots.svg_text(canvas)

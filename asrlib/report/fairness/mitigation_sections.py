"""Before and after: what each mitigation does to the bottom cohort and to all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asrlib.mitigation.table import MitigationRow, Mitigations, Rates
from asrlib.report import fairness_plots
from asrlib.report.document import Block, Figure, Section, Table, Text
from asrlib.report.fairness.collect import Fairness
from asrlib.report.fairness_plots import Change
from asrlib.report.format import DASH, interval, number
from asrlib.scoring.cohort_frame import Estimate
from asrlib.scoring.confirmation import CohortRate
from asrlib.scoring.gaps import Comparison, GapChange

_STAGE = (
    "No mitigation was judged yet: stage 10 of run.sh trains them, stage 11 judges them on "
    "confirmation speakers."
)
_HIDDEN = "Not shown: the bottom cohort is one of places, and has too few speakers."
_MEASURES = {
    "symbol_delay_ms": "symbol delay, ms",
    "finalisation_ms": "finalisation latency, ms",
    "encoder_work": "encoder work, share",
}


def mitigation_sections(fairness: Fairness) -> list[Section]:
    """A section for each table of mitigations; nothing without cohorts."""
    if not fairness.mitigations:
        return [Section("Before and after", (Text(_STAGE),))] if fairness.judged else []
    sections = []
    for found in fairness.mitigations:
        title = f"Before and after: {found.heading}"
        if fairness.hides(found):
            sections.append(Section(title, (Text(_HIDDEN),)))
            continue
        sections.append(Section(title, tuple(_blocks(found, fairness))))
        title = f"What got worse, by seed and region: {found.heading}"
        sections.append(Section(title, tuple(_details(found)), 3))
        measures = tuple(_measures(found))
        if measures:
            sections.append(Section(f"Delay after mitigation: {found.heading}", measures, 3))
    return sections


def _blocks(found: Mitigations, fairness: Fairness) -> Iterator[Block]:
    start = found.rows[0].rates
    yield Text(
        f"Cohorts of method {found.method} ({found.cohorts}); every model was decoded on the same "
        f"speakers of set {found.test_set} ({found.search}), of whom {start.bottom.speakers} are "
        f"in the bottom cohort and {start.rest.speakers} are not. The counts of seeds are added "
        f"up. In brackets: intervals over speakers.{_opened(found, fairness)}"
    )
    changed = [row for row in found.rows if row.label != found.start]
    if changed:
        yield _figure(found, changed)
    yield _table(found)
    yield from _change_table(found)
    verdicts = [f"- {r.label}: {r.verdict.reason}" for r in found.rows if r.verdict is not None]
    if verdicts:
        yield Text(_verdict(found) + "\n" + "\n".join(verdicts))
    if found.notes:
        yield Text("\n".join(f"- {note}" for note in found.notes))


def _opened(found: Mitigations, fairness: Fairness) -> str:
    """Whether stage 9 had looked at the speakers before; "" where that is not known."""
    method = next((m for m in fairness.judged if m.name == found.method), None)
    judged = None if method is None else method.judged
    if method is None or method.record is None or judged is None or judged.bottom is None:
        return ""
    start, sets = found.rows[0].rates, (found.test_set, method.record.confirmation.set)
    # The same speakers said the same number of words.
    same = len(set(sets)) == 1 and judged.bottom.words == start.bottom.words
    if not same or judged.rest is None or judged.rest.words != start.rest.words:
        return " The cohorts were judged on other speakers than the mitigations."
    return (
        " The cohorts were judged on the same speakers, so this is a second look at them. run.sh "
        "chooses neither the cohort nor the rows by what the first look showed; whoever does, has "
        "to judge on new speakers."
    )


def _verdict(found: Mitigations) -> str:
    judged = [r for r in found.rows if r.verdict is not None]
    good = [r.label for r in judged if r.verdict is not None and r.verdict.success]
    count = f"{len(good)} of {len(judged)} methods succeed"
    return f"{count}: {', '.join(good)}." if good else f"{count}."


def _figure(found: Mitigations, changed: Sequence[MitigationRow]) -> Figure:
    start = found.rows[0].rates
    changes = [
        Change(r.label, r.rates.rest.percent, r.rates.bottom.percent, r.kind == "control")
        for r in changed
    ]
    curve = [
        (p.rates.rest.percent, p.rates.bottom.percent)
        for p in sorted(found.curve, key=lambda p: p.share)
    ]
    said = "; ".join(f"{c.label} {c.bottom:.2f} % and {c.rest:.2f} %" for c in changes)
    caption = (
        f"WER of the bottom cohort and of the rest. Start: {start.bottom.percent:.2f} % and "
        f"{start.rest.percent:.2f} %. After: {said}. Squares are controls."
    )
    if curve:
        caption += (
            " The dashed line joins the start and the fine-tuned model by interpolation of their "
            "weights: a method has to end below and to the left of it."
        )
    ends = (start.rest.percent, start.bottom.percent)
    svg = fairness_plots.before_after(ends, changes, curve)
    return Figure(svg, caption, "Mitigations before and after")


def _table(found: Mitigations) -> Table:
    header = ("row", "seeds", "updates", "bottom WER %", "rest WER %", "all WER %", "gap %")
    rows, strong = [], set()
    for row in found.rows:
        verdict = row.verdict
        if verdict is not None and verdict.success:
            strong.add(len(rows))
        label = row.label + (" (control)" if row.kind == "control" else "")
        word = DASH if verdict is None else ("yes" if verdict.success else "no")
        rows.append((label, str(len(row.seeds)), f"{row.updates:,}", *_rates(row.rates), word))
    for point in sorted(found.curve, key=lambda p: p.share):
        label = f"interpolation, {100 * point.share:g} % of the way"
        rows.append((label, str(len(point.seeds)), DASH, *_rates(point.rates), DASH))
    return Table((*header, "success"), tuple(rows), 1, frozenset(strong))


def _rates(rates: Rates) -> tuple[str, ...]:
    gap = rates.gap.gap if rates.gap else None
    return (*(_rate(r) for r in (rates.bottom, rates.rest, rates.overall)), number(gap, 0))


def _change_table(found: Mitigations) -> list[Block]:
    """Paired changes against the control of each row that has one."""
    rows = [(row, row.against_control or row.against_start) for row in found.rows]
    header = ("row", "against", "bottom, points", "rest, points", "rest, relative %")
    header += ("all, points", "gap, points of %")
    cells = tuple(
        (
            row.label,
            changes.against,
            _change(changes.bottom),
            _change(changes.rest),
            interval(changes.rest_relative, 1, "+"),
            _change(changes.overall),
            DASH if changes.gap is None else _gap_change(changes.gap),
        )
        for row, changes in rows
        if changes is not None
    )
    text = "Paired changes, speaker by speaker; below zero is better."
    return [Text(text), Table(header, cells, 2)] if cells else []


def _gap_change(found: GapChange) -> str:
    return f"{number(found.change, 0)} {interval(found.interval, 0, '+')}"


def _rate(rate: CohortRate) -> str:
    return f"{rate.percent:.2f} {interval(rate.interval)}"


def _change(found: Comparison) -> str:
    return f"{found.difference:+.2f} {interval(found.interval, sign='+')}"


def _details(found: Mitigations) -> Iterator[Block]:
    worse = [_worse(row) for row in found.rows if row.against_start is not None]
    named = [line for line in worse if line]
    yield Text("\n".join(named) if named else "No row made the rest or all speakers worse.")
    regional = [(row, row.regional) for row in found.rows if row.regional is not None]
    if regional:
        header = ("row", "regions by", "regions", "mean WER %", "highest %", "worst region")
        header += ("raw variance", "between-group variance")
        rows = tuple(
            (
                row.label,
                r.by,
                str(r.regions),
                number(r.mean, 2),
                number(r.highest, 2),
                r.worst,
                number(r.raw_variance, 2),
                number(r.tau2, 2),
            )
            for row, r in regional
        )
        yield Table(header, rows, 2)
    header = ("row", "run", "seed", "bottom WER %", "rest WER %", "all WER %")
    rows = tuple(
        (row.label, s.run, str(s.seed), *(number(x, 2) for x in (s.bottom, s.rest, s.overall)))
        for row in found.rows
        for s in row.seeds
    )
    yield Table(header, rows, 2)


def _worse(row: MitigationRow) -> str:
    """What a row made worse than the start, with an interval above 0."""
    changes = row.against_start
    assert changes is not None
    parts = {"bottom": changes.bottom, "rest": changes.rest, "all": changes.overall}
    found = [
        f"{name} {_change(c)} points"
        for name, c in parts.items()
        if c.interval and c.interval[0] > 0
    ]
    return f"- {row.label} is worse than {changes.against}: {', '.join(found)}" if found else ""


def _measures(found: Mitigations) -> Iterator[Block]:
    for name, title in _MEASURES.items():
        known = [(row, row.measures[name]) for row in found.rows if name in row.measures]
        if known:
            digits = 3 if name == "encoder_work" else 0
            header = (f"row: {title}", "bottom", "rest", "all")
            rows = tuple(
                (row.label, *(_estimate(e, digits) for e in (m.bottom, m.rest, m.overall)))
                for row, m in known
            )
            yield Table(header, rows)


def _estimate(found: Estimate, digits: int) -> str:
    return f"{number(found.value, digits)} {interval(found.interval, digits)}"

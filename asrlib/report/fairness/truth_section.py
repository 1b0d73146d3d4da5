"""The planted truth of a synthetic corpus: which planted groups each method caught."""

from __future__ import annotations

from collections.abc import Iterator

from asrlib.cohorts.ranking import BOTTOM
from asrlib.report.document import Block, Section, Table, Text
from asrlib.report.fairness.collect import Fairness, Method
from asrlib.report.format import DASH, interval, number

_NONE = ("", "none", "unknown")  # values of speakers in no planted group


def truth_sections(fairness: Fairness) -> list[Section]:
    """Of the columns that conf/cohorts.yaml keeps from the search; nothing without any.

    Only recipes of public or synthetic speech have a planted truth.
    """
    table = fairness.speakers
    if table is None or not fairness.judged or not fairness.public:
        return []
    sections = []
    for column in fairness.config.exclude_columns:
        values = dict(zip(table.speakers, table.column(column), strict=True))
        if set(values.values()) - set(_NONE):
            blocks = tuple(_blocks(fairness, column, values))
            sections.append(Section(f"The planted truth: {column}", blocks))
    return sections


def _blocks(fairness: Fairness, column: str, values: dict[str, str]) -> Iterator[Block]:
    judged = fairness.judged
    yield Text(
        f"The corpus was made with groups of speakers that are harder to recognise (column "
        f"`{column}`). No method saw this column. The table shows how many of each group's "
        "confirmation speakers each method put into its bottom cohort; a method finds a group if "
        "that share is far above the share of all speakers."
    )
    sums = judged[0].sums["confirmation"]
    names = sorted({values.get(s, "") for s in sums.speakers}, key=lambda v: (v in _NONE, v))
    header = ("planted group", "speakers", "WER %", "interval", *(f"{m.name} %" for m in judged))
    rows = []
    for name in names:
        own = [s for s in sums.speakers if values.get(s, "") == name]
        part = sums.take(own)
        ends = part.interval()
        rows.append(
            (
                name or "unknown",
                str(len(own)),
                number(part.rate if part.words else None, 2, 100),
                interval(ends and ends.percent()),
                *(_share(method, own) for method in judged),
            )
        )
    everybody = list(sums.speakers)
    cells = (_share(method, everybody) for method in judged)
    ends = sums.interval()
    rate = number(sums.rate, 2, 100), interval(ends and ends.percent())
    rows.append(("all speakers", str(len(everybody)), *rate, *cells))
    yield Table(header, tuple(rows), 1, frozenset({len(rows) - 1}))
    planted = {s for s in everybody if values.get(s, "") not in _NONE}
    lines = []
    for method in judged:
        bottom = [s for s in everybody if method.members.cohorts.get(s) == BOTTOM]
        if bottom:
            inside = len(planted & set(bottom))
            lines.append(
                f"- {method.name}: {inside} of its {len(bottom)} bottom speakers "
                f"({100 * inside / len(bottom):.0f} %) belong to a planted group"
            )
    yield Text("\n".join(lines))


def _share(method: Method, speakers: list[str]) -> str:
    """Share of these speakers in the bottom cohort, of those whose cohort is known."""
    cohorts = [method.members.cohorts.get(s, "unknown") for s in speakers]
    known = [c for c in cohorts if c != "unknown"]
    return f"{100 * known.count(BOTTOM) / len(known):.0f}" if known else DASH

"""The page of an audit: what was given, for whom the recogniser fails, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator

from asrlib.audit.record import Audit, GivenGroups, Searched
from asrlib.report.cell_map import cell_blocks
from asrlib.report.document import Block, Code, Document, Figure, Section, Table, Text
from asrlib.report.fairness_plots import ForestRow, GapRow, forest, found_and_confirmed
from asrlib.report.format import DASH, GAP, gap_cells, interval, number
from asrlib.scoring.confirmation import CohortRate, Confirmation
from asrlib.scoring.groups import Group

_TITLES = {
    "tree": "regions of a tree",
    "scan": "circle on the map",
    "geodemographic": "attributes of zip codes",
    "automatic": "clusters of voices",
    "automatic_measured": "voices and measures",
    "metadata": "columns and pairs",
}
_ENRICHED = 5  # attributes shown


def audit_document(audit: Audit) -> Document:
    """The whole page."""
    return Document(audit.title, tuple(audit_sections(audit)), _footer(audit))


def audit_sections(audit: Audit) -> Iterator[Section]:
    """All sections, in the order in which people read them."""
    yield Section("Finding", (Text(audit.finding), _total(audit)))
    yield Section("What was compared", tuple(_inputs(audit)))
    if audit.given:
        yield Section("Groups given beforehand", tuple(_given(audit)))
    yield Section("Cohorts found and confirmed", tuple(_searched(audit)))
    for searched in audit.searched:
        if searched.explanation is not None:
            title = f"What the cohort is: {_TITLES[searched.method]}"
            yield Section(title, tuple(_explained(searched)), 3)
    if audit.cells is not None:
        yield Section("Where", cell_blocks(audit.cells, audit.unit))
    yield Section("Limits", tuple(_limits(audit)))
    if audit.command:
        yield Section("Command", (Code(audit.command, "sh"),))


def _total(audit: Audit) -> Table:
    wer, words = audit.wer, audit.wer.words or 1
    kinds = (wer.insertions, wer.deletions, wer.substitutions)
    row = (
        f"{audit.units:,}",
        f"{audit.utterances:,}",
        f"{wer.words:,}",
        number(wer.percent, 2),
        interval(audit.interval),
        " / ".join(f"{100 * n / words:.1f}" for n in kinds),
        number(audit.cer.percent, 2),
        f"{100 * audit.wrong_utterances / audit.utterances:.1f}",
    )
    header = (f"{audit.unit}s", "utterances", "words", "WER %", "interval")
    return Table((*header, "ins / del / sub %", "CER %", "SER %"), (row,), 0)


def _inputs(audit: Audit) -> Iterator[Block]:
    done = audit.normalised
    yield Text(
        f"Normalisation '{done.name}': references and hypotheses {done.does}. It changed "
        f"{done.references:,} references and {done.hypotheses:,} hypotheses of "
        f"{audit.utterances:,}."
    )
    if audit.unit == "clip":
        yield Text(
            "Every utterance counts as a speaker of its own, so the sample is clips: if people "
            "recorded several clips, the intervals are too narrow and the p-values too small."
        )
    for note in audit.notes:
        yield Text(note)


def _given(audit: Audit) -> Iterator[Block]:
    yield Text(
        "The groups with the highest and the lowest error rate of each column. The interval holds "
        "for all pairs of groups together; 'chance' is what 95 % of random divisions of the "
        f"{audit.unit}s stay below; p is corrected (Holm) over all rows; 'detectable' is the "
        "smallest gap that would show in four of five audits of this size."
    )
    rows, strong = [], set()
    for groups in audit.given:
        if groups.table.gap is not None:
            cells = gap_cells(groups.table.gap)
            if groups.p_holm is not None and groups.p_holm < 1 - audit.confidence:
                strong.add(len(rows))
            corrected = number(groups.p_holm, 4)
            rows.append((_name(groups), *cells[:-2], corrected, cells[-1]))
    if rows:
        header = ("groups by", *GAP)
        yield Table(header, tuple(rows), 2, frozenset(strong))
    for groups in audit.given:
        if groups.note:
            yield Text(f"{_name(groups)}: {groups.note}")
    for groups in audit.given:
        if len(groups.columns) == 1:
            yield _forest(audit, groups)
        yield from _rates(audit, groups)


def _name(groups: GivenGroups) -> str:
    return " x ".join(groups.columns)


def _forest(audit: Audit, groups: GivenGroups) -> Figure:
    gap = groups.table.gap
    rows = [
        ForestRow(
            label=_plain(f"{g.value} ({g.speakers})"),
            rate=g.errors.percent or 0.0,
            interval=g.interval,
            speakers=groups.rates.get(g.value, ()),
            worst=gap is not None and g.value == gap.worst,
        )
        for g in _sorted(groups)
        if g.errors.words
    ]
    return Figure(
        forest(rows, audit.wer.percent or 0.0),
        f"Word error rate by {_name(groups)}, with 95 % intervals over {audit.unit}s; a faint dot "
        f"is one {audit.unit}, the number in brackets is how many there are, the dashed line is "
        "the rate of all.",
    )


def _sorted(groups: GivenGroups) -> list[Group]:
    """The worst group first; of pairs only those that are large enough for a gap."""
    shown = [g for g in groups.table.groups if g.large_enough or len(groups.columns) == 1]
    return sorted(shown, key=lambda g: -g.errors.rate)


def _rates(audit: Audit, groups: GivenGroups) -> Iterator[Block]:
    shown = _sorted(groups)
    rows = tuple(
        (
            g.value,
            f"{g.speakers:,}",
            f"{g.errors.words:,}",
            number(g.errors.percent, 1),
            interval(g.interval, 1),
            _kinds(g.errors.insertions, g.errors.deletions, g.errors.substitutions, g.errors.words),
        )
        for g in shown
    )
    header = (_name(groups), f"{audit.unit}s", "words", "WER %", "interval", "ins / del / sub %")
    if rows:
        yield Table(header, rows)
    small = len(groups.table.groups) - len(shown)
    if small:
        yield Text(f"{_name(groups)}: {small} groups are unknown or too small and not shown.")


def _kinds(insertions: int, deletions: int, substitutions: int, words: int) -> str:
    return " / ".join(
        f"{100 * n / max(words, 1):.1f}" for n in (insertions, deletions, substitutions)
    )


def _searched(audit: Audit) -> Iterator[Block]:
    tried = [s for s in audit.searched if s.tried]
    yield Text(
        f"Each method looked for the {audit.unit}s with the most errors among {audit.discovery} "
        f"discovery {audit.unit}s. What it found was judged once on {audit.confirmation} others, "
        "because a gap that was searched for is too large where it was found. A cohort is "
        f"confirmed if p, corrected (Holm) over the {len(tried)} methods that were tried, is below "
        f"{1 - audit.confidence:.2g}."
    )
    complete = [(s, c) for s in tried if (c := s.confirmation) is not None and _complete(c)]
    if complete:
        yield _gaps([s for s, _ in complete])
        yield Table(
            ("method", "bottom cohort", "share %", "bottom WER %", "others WER %", "found gap %",
             "chance %", "confirmed gap %", "chance %", "p", "detectable %"),
            tuple(_row(s, c) for s, c in complete),
            2,
            frozenset(i for i, (_, c) in enumerate(complete) if c.is_confirmed),
        )  # fmt: skip
        yield Text(
            "Gaps are (bottom - top) / top. 'Chance' beside the found gap is what 95 % of searches "
            "among permuted errors stay below, beside the confirmed gap what 95 % of permutations "
            "of the confirmation half do."
        )
    shown = {s.method for s, _ in complete}
    for s in audit.searched:
        yield Text(_sentence(s, s.method in shown))


def _complete(c: Confirmation) -> bool:
    """Whether the gap has an interval, a null and a power statement."""
    judged = c.confirmed is not None and c.found is not None and c.detectable_gap is not None
    return judged and c.confirmed.difference_interval is not None  # pyrefly: ignore


def _row(s: Searched, c: Confirmation) -> tuple[str, ...]:
    assert c.bottom is not None
    assert c.rest is not None
    assert c.found is not None
    assert c.confirmed is not None
    ends = interval(c.confirmed.gap_interval, 0, "+")
    return (
        _TITLES[s.method],
        s.bottom,
        f"{c.bottom.share:.0f}",
        _rate(c.bottom),
        _rate(c.rest),
        DASH if c.found.gap is None else f"{c.found.gap:+.0f}",
        DASH if c.found_null_gap is None else f"{c.found_null_gap:+.0f}",
        DASH if c.confirmed.gap is None else f"{c.confirmed.gap:+.0f} {ends}",
        "any" if c.null_gap is None else f"{c.null_gap:+.0f}",
        number(c.p_holm, 4),
        number(c.detectable_gap, 0),
    )


def _rate(rate: CohortRate) -> str:
    return f"{rate.percent:.1f} {interval(rate.interval, 1)}"


def _gaps(searched: list[Searched]) -> Figure:
    rows = []
    for s in searched:
        c = s.confirmation
        if c is not None and c.found is not None and c.confirmed is not None:
            found, confirmed = c.found.gap, c.confirmed.gap
            if found is not None:
                ends = c.confirmed.gap_interval
                rows.append(GapRow(_TITLES[s.method], found, confirmed, ends, c.null_gap))
    return Figure(
        found_and_confirmed(rows),
        "The gap of each method where it was found (open) and on other speakers (filled, with a "
        "95 % interval); left of the dotted mark it may be chance.",
    )


def _sentence(s: Searched, in_table: bool) -> str:
    title = _TITLES[s.method].capitalize()
    if not s.tried:
        return f"{title}: not tried: {s.outcome}."
    text = f"{title}: {s.outcome.removesuffix('; not confirmed yet')}"
    text = text if text.endswith(".") else f"{text}."
    c = s.confirmation
    if c is not None and s.bottom and not in_table:
        text += (
            " On confirmation speakers its gap has no interval, or no size of it would show: it "
            "is not given."
        )
    elif c is not None and s.bottom:
        text += " Confirmed." if c.is_confirmed else " Not confirmed."
    return f"{text} {s.note}".rstrip()


def _explained(s: Searched) -> Iterator[Block]:
    found = s.explanation
    assert found is not None
    sides = (("bottom", found.bottom_speakers, found.bottom),
             ("all others", found.other_speakers, found.others))  # fmt: skip
    yield Table(
        ("confirmation half", "number", "words", "WER %", "ins / del / sub %"),
        tuple(
            (
                name,
                f"{count:,}",
                f"{e.words:,}",
                number(e.percent, 1),
                _kinds(e.insertions, e.deletions, e.substitutions, e.words),
            )
            for name, count, e in sides
        ),
    )
    if found.enriched:
        rows = tuple(
            (
                " and ".join(f"{column} {value}" for column, value in e.attributes.items()),
                f"{e.bottom} of {e.bottom_known}",
                f"{e.others} of {e.others_known}",
                f"{e.odds_ratio:.2f}",
                f"{e.corrected_p:.4f}",
            )
            for e in found.enriched[:_ENRICHED]
        )
        yield Table(("attribute", "in the bottom", "elsewhere", "odds ratio", "corrected p"), rows)
    if found.words:
        words = ", ".join(
            f"{w.word} ({w.errors} of {w.count}; elsewhere {w.other_errors} of {w.other_count})"
            for w in found.words
        )
        yield Text(f"Words with the largest excess of errors: {words}.")
    yield Text(_adjusted(s))


def _adjusted(s: Searched) -> str:
    assert s.explanation is not None
    a = s.explanation.adjustment
    if a.adjusted is None or a.raw is None:
        return f"No regression: {a.note}."
    raw, kept = (f"{r.ratio:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in (a.raw, a.adjusted))
    text = (
        f"The bottom cohort has {raw} times the errors per word of the others; with "
        f"{', '.join(a.covariates)} held fixed it has {kept} times ({a.model} regression)."
    )
    if a.remaining is not None and a.raw.low > 1:
        share = f"{100 * max(a.remaining, 0):.0f} %"
        text += f" So {share} of the difference (on the logarithm) remains, as a point estimate."
    return text


def _limits(audit: Audit) -> Iterator[Block]:
    yield Text(
        f"The sample is {audit.unit}s, not words: intervals are log-t intervals of "
        f"{100 * audit.confidence:.0f} %, tests permute {audit.unit}s "
        f"({audit.permutations:,} times, seed {audit.seed}). The halves were drawn by a hash of "
        "the ids within the groups given. A cohort that is searched for has at least "
        f"{audit.min_speakers} discovery {audit.unit}s, automatic ones aim at "
        f"{100 * audit.share:.0f} % of them."
    )
    yield Text(
        "What is not confirmed may still be there: see 'detectable'. What is confirmed is a "
        "difference of error rates in these recordings; the regression says what of it goes with "
        "harder sentences, noise or rate, and neither says why."
    )
    if not audit.public:
        yield Text(
            "Places are coarse: coordinates to 0.1 degree, zip codes to three digits; cohorts of "
            "places with fewer than 11 speakers are hidden."
        )


def _footer(audit: Audit) -> str:
    return f"Fairstream {audit.version}, python -m asrlib audit; every figure stands in audit.json."


def _plain(label: str) -> str:
    """A label that matplotlib takes as it is: between dollar signs it would read formulae."""
    return label.replace("$", r"\$")

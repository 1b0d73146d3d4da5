"""Found and confirmed cohorts: forest plot, gaps, and what each cohort is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asrlib.cohorts.enrichment import Enrichment
from asrlib.cohorts.explain import Explanation
from asrlib.cohorts.places import hidden
from asrlib.cohorts.ranking import BOTTOM, TOP
from asrlib.report import fairness_plots
from asrlib.report.document import Block, Figure, Section, Table, Text
from asrlib.report.fairness.collect import Fairness, Method
from asrlib.report.fairness.words import bottom_name, detectable_words, power_sentence
from asrlib.report.fairness_plots import ForestRow, GapRow
from asrlib.report.format import DASH, interval, number
from asrlib.scoring.speaker_sums import SpeakerSums

_STAGE = "Stage 9 of run.sh finds cohorts on discovery speakers and judges them on others."
_ENRICHED = 6  # attributes shown of a cohort
_PLACES = ("zip", "city", "state", "region", "latitude", "longitude")


def cohort_sections(fairness: Fairness) -> list[Section]:
    """Whom it fails; without cohorts a section that says which stage finds them."""
    if not fairness.judged:
        lines = [f"- {name}: {sentence}" for name, sentence in sorted(fairness.tried.items())]
        return [Section("Whom does it fail?", (Text("\n".join([_STAGE, *lines])),))]
    gaps = _gaps(fairness.judged, fairness.public)
    return [
        Section("Whom does it fail?", tuple(_overview(fairness))),
        Section("Found against confirmed gaps", tuple(gaps), 3),
    ]


def explained_sections(fairness: Fairness) -> list[Section]:
    """What each bottom cohort is; nothing without judged cohorts."""
    sections = []
    for method in sorted(fairness.methods, key=_order):
        if fairness.judged and method.explanation is not None:
            confirmed = method.judged is not None and method.judged.is_confirmed
            note = "" if confirmed else " (not confirmed)"
            title = f"What the bottom cohort of {method.name} is{note}"
            blocks = tuple(_explained(method, method.explanation, fairness.public))
            sections.append(Section(title, blocks, 3))
    return sections


def _overview(fairness: Fairness) -> Iterator[Block]:
    judged = fairness.judged
    first = judged[0].judged
    assert first is not None
    yield Text(
        f"Cohorts were found on {first.discovery_speakers:,} speakers and judged once on "
        f"{first.confirmation_speakers:,} others, who took no part in the search; all figures of "
        "this section are of these others. In brackets: "
        f"{100 * first.confidence:g} % intervals over speakers. p is corrected for the "
        f"{len(fairness.tried) or len(judged)} methods that were tried (Holm)."
    )
    rows, left_out = _forest_rows(fairness)
    everybody = judged[0].sums["confirmation"]
    if rows:
        caption = (
            f"WER of the bottom and the top cohort of each method on confirmation speakers. Dots "
            f"are speakers, lines {100 * first.confidence:g} % intervals (an arrow: it goes on), "
            "in red the cohorts that were confirmed; the dashed line is all speakers, "
            f"{100 * everybody.rate:.1f} %. "
            f"Worst: {rows[0].label}, {rows[0].rate:.1f} %."
        )
        svg = fairness_plots.forest(rows, 100 * everybody.rate)
        yield Figure(svg, caption, "WER of cohorts, with a dot for each speaker")
    yield _table(judged, fairness.public)
    if left_out:
        yield Text(f"Not shown, for fewer than 11 speakers: {', '.join(left_out)}.")
    nothing = [n for n in sorted(fairness.tried) if n not in {m.name for m in fairness.methods}]
    if nothing:
        yield Text("\n".join(f"- {name}: {fairness.tried[name]}" for name in nothing))


def _forest_rows(fairness: Fairness) -> tuple[list[ForestRow], list[str]]:
    """Cohorts from the worst, and the names of those that are too small to be shown."""
    rows, left_out = [], []
    for method in fairness.judged:
        parts = method.parts("confirmation")
        one = method.judged
        assert one is not None
        for cohort in (BOTTOM, TOP):
            if cohort not in parts:
                continue
            sums = parts[cohort]
            if method.hides(len(sums), fairness.public):
                left_out.append(f"{method.name}: {cohort}")
                continue
            label = f"{method.name}: {cohort} ({len(sums)})"
            confirmed = cohort == BOTTOM and one.is_confirmed
            rows.append(_forest_row(label, sums, one.confidence, confirmed))
    return sorted(rows, key=lambda r: (-r.rate, r.label)), left_out


def _forest_row(label: str, sums: SpeakerSums, confidence: float, worst: bool) -> ForestRow:
    ends = sums.interval(confidence)
    with_words = sums.words_S > 0
    rates = 100 * sums.errors_S[with_words] / sums.words_S[with_words]
    return ForestRow(label, 100 * sums.rate, ends and ends.percent(), rates.tolist(), worst)


def _table(judged: Sequence[Method], public: bool) -> Table:
    header = ("method", "bottom cohort", "confirmed", "p", "speakers", "share %")
    header += ("bottom WER %", "rest WER %")
    rows = []
    strong = set()
    for method in sorted(judged, key=_order):
        one = method.judged
        assert one is not None
        if one.is_confirmed:
            strong.add(len(rows))
        size = one.bottom.speakers if one.bottom else 0
        shown = one.bottom if not method.hides(size, public) else None
        rows.append(
            (
                method.name,
                bottom_name(method),
                "yes" if one.is_confirmed else "no",
                number(one.p_holm, 4),
                str(shown.speakers) if shown else DASH,
                number(shown.share if shown else None, 1),
                f"{shown.percent:.2f} {interval(shown.interval)}" if shown else DASH,
                f"{one.rest.percent:.2f} {interval(one.rest.interval)}" if one.rest else DASH,
            )
        )
    return Table(header, tuple(rows), 3, frozenset(strong))


def _order(method: Method) -> tuple[float, str]:
    one = method.judged
    return (-(one.bottom.percent if one and one.bottom else 0.0), method.name)


def _gaps(judged: Sequence[Method], public: bool) -> list[Block]:
    rows, cells = [], []
    for method in sorted(judged, key=_order):
        one = method.judged
        assert one is not None
        if one.bottom is not None and method.hides(one.bottom.speakers, public):
            continue
        found = one.found.gap if one.found else None
        confirmed = one.confirmed.gap if one.confirmed else None
        ends = one.confirmed.gap_interval if one.confirmed else None
        if found is not None:
            rows.append(GapRow(method.name, found, confirmed, ends, one.null_gap))
        cells.append(
            (
                method.name,
                number(found, 0),
                "any" if one.found_null_gap is None else number(one.found_null_gap, 0),
                number(confirmed, 0),
                interval(ends, 0, "+"),
                "any" if one.null_gap is None else number(one.null_gap, 0),
                detectable_words(one.detectable_gap),
            )
        )
    header = ("method", "found %", "chance in the search %", "confirmed %", "interval")
    header += ("chance %", "detectable %")
    text = (
        "The gap is (bottom - top) / top of the WER. A search always finds one, so that the found "
        "gap is inflated. Chance: 95 % of permutations of the speakers lie below it. Detectable: "
        "the smallest gap that the confirmation speakers would show with a probability of 80 %; "
        f"{power_sentence(judged)}."
    )
    blocks: list[Block] = [Text(text)]
    if rows:
        said = "; ".join(
            f"{r.label} {r.found:+.0f} %, then "
            + (f"{r.confirmed:+.0f} %" if r.confirmed is not None else "not known")
            for r in rows
        )
        caption = f"Gaps as they were found, and on speakers who took no part: {said}."
        svg = fairness_plots.found_and_confirmed(rows)
        blocks.append(Figure(svg, caption, "Found and confirmed gaps"))
    return [*blocks, Table(header, tuple(cells))]


def _explained(method: Method, told: Explanation, public: bool) -> Iterator[Block]:
    if method.hides(told.bottom_speakers, public):
        yield Text("Too few speakers to be described without telling who they are.")
        return
    yield Text(
        f"The cohort: {bottom_name(method)}. {told.bottom_speakers} speakers of set {told.set}, "
        f"against {told.other_speakers} others."
    )
    shown = [e for e in told.enriched if _may_be_shown(e, public)][:_ENRICHED]
    if shown:
        header = ("attribute", "in the cohort", "among others", "odds ratio", "corrected p")
        rows = tuple(
            (
                " and ".join(f"{column}: {value}" for column, value in e.attributes.items()),
                f"{e.bottom} of {e.bottom_known}",
                f"{e.others} of {e.others_known}",
                number(e.odds_ratio, 2),
                f"{e.corrected_p:.2g}",
            )
            for e in shown
        )
        yield Table(header, rows)
    header = ("errors per 100 words", "insertions", "deletions", "substitutions", "all")
    sides = (("the cohort", told.bottom), ("others", told.others))
    rows = []
    for name, errors in sides:
        kinds = (errors.insertions, errors.deletions, errors.substitutions, errors.errors)
        rows.append(
            (name, *(number(k / errors.words if errors.words else None, 2, 100) for k in kinds))
        )
    yield Table(header, tuple(rows))
    if told.words:
        header = ("worst words", "wrong in the cohort", "wrong among others", "errors in excess")
        rows = tuple(
            (
                w.word,
                f"{w.errors} of {w.count}",
                f"{w.other_errors} of {w.other_count}",
                number(w.excess, 1),
            )
            for w in told.words
        )
        yield Table(header, rows)
    yield Text(_remains(told))


def _may_be_shown(e: Enrichment, public: bool) -> bool:
    """Whether an attribute tells of no few people at one place."""
    return not (set(e.attributes) & set(_PLACES) and hidden(e.bottom + e.others, public))


def _remains(told: Explanation) -> str:
    """What is left of the gap with other differences held fixed."""
    found = told.adjustment
    if found.adjusted is None or found.raw is None:
        return f"No regression: {found.note}."
    raw, held = found.raw, found.adjusted
    text = (
        f"The cohort's error rate is {raw.ratio:.2f} [{raw.low:.2f}, {raw.high:.2f}] times that of "
        f"the others; with {', '.join(found.covariates)} held fixed it is {held.ratio:.2f} "
        f"[{held.low:.2f}, {held.high:.2f}] times ({found.model} regression, {found.speakers} "
        "speakers)."
    )
    if found.remaining is not None and raw.low > 1:  # else there is no difference to explain
        text += f" {100 * found.remaining:.0f} % of the difference remain (of its logarithm)."
    if found.left_out:
        left = "; ".join(f"{name}: {why}" for name, why in sorted(found.left_out.items()))
        text += f" Not held fixed: {left}."
    return text

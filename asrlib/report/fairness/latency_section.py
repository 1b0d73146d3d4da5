"""Delay, compute and every other measure by cohort."""

from __future__ import annotations

from collections.abc import Iterator

from asrlib.report.document import Block, Section, Table, Text
from asrlib.report.fairness.collect import Fairness
from asrlib.report.format import DASH, interval, number
from asrlib.scoring.cohort_frame import MEASURES, CohortFrame, CohortScores, Estimate, Split
from asrlib.scoring.groups import UNKNOWN

_TITLES = {
    "wer": "WER %",
    "cer": "CER %",
    "deletions": "deletions %",
    "insertions": "insertions %",
    "substitutions": "substitutions %",
    "symbol_delay_ms": "symbol delay ms",
    "finalisation_ms": "finalisation ms",
    "encoder_work": "encoder work",
}
_SPLITS: dict[Split, str] = {
    "confirmation": "confirmation speakers",
    "other": "speakers of neither half",
}


def latency_sections(fairness: Fairness) -> list[Section]:
    """What decodes cost and how late they are, by cohort; discovery speakers are left out."""
    sections = []
    for where, scores in fairness.scores.items():
        for split, people in _SPLITS.items():
            frame = scores.frames.get(split)
            if frame is not None and len(_shown(fairness, scores, frame)) > 1:
                title = f"By cohort of {scores.method}: {where}"
                blocks = tuple(_blocks(fairness, scores, frame, people))
                sections.append(Section(title, blocks, 3))
    if sections:
        text = "Errors, delays and the encoder's work by cohort, with intervals over speakers."
        return [Section("Delay and compute by cohort", (Text(text),)), *sections]
    if fairness.judged:
        text = (
            "Not scored by cohort yet: stage 11 of run.sh does it, or `steps/score.sh --cohorts "
            "DIR` for any decode."
        )
        return [Section("Delay and compute by cohort", (Text(text),))]
    return []


def _shown(fairness: Fairness, scores: CohortScores, frame: CohortFrame) -> list[str]:
    """The cohorts that have enough speakers to be shown."""
    own = [m for m in fairness.methods if m.name == scores.method]
    public = fairness.public
    return [
        name
        for name, size in frame.sizes.items()
        if not any(m.hides(size.speakers, public) for m in own)
    ]


def _blocks(
    fairness: Fairness, scores: CohortScores, frame: CohortFrame, people: str
) -> Iterator[Block]:
    shown = _shown(fairness, scores, frame)
    yield Text(f"{frame.speakers:,} {people} of set {scores.meta.set}, model {scores.meta.model}.")
    names = [name for name in MEASURES if name in frame.measures]
    header = ("cohort", "speakers", "% of audio", *(_TITLES[name] for name in names))
    rows = []
    for cohort in shown:
        size = frame.sizes[cohort]
        cells = (_cell(frame.measures[n].cohorts.get(cohort), n) for n in names)
        mark = "" if size.large_enough or cohort == UNKNOWN else " *"
        rows.append((cohort + mark, str(size.speakers), number(size.audio_share, 1), *cells))
    cells = (_cell(frame.measures[n].overall, n) for n in names)
    rows.append(("all", str(frame.speakers), "100.0", *cells))
    yield Table(header, tuple(rows), 1, frozenset({len(rows) - 1}))
    gaps = [(n, frame.measures[n].gap) for n in names]
    header = ("measure", "worst - best", "difference", "interval", "chance", "p", "detectable")
    found = tuple(
        (
            _TITLES[name],
            f"{gap.worst} - {gap.best}",
            number(gap.difference, _digits(name)),
            interval(gap.difference_interval, _digits(name), "+"),
            number(gap.null_difference, _digits(name)),
            f"{gap.p_value:.4f}",
            DASH if gap.detectable is None else _detectable(gap.detectable, name),
        )
        for name, gap in gaps
        if gap is not None and {gap.worst, gap.best} <= set(shown)
    )
    if found:
        yield Table(header, found, 2)
    if len(shown) < len(frame.sizes):
        hidden = len(frame.sizes) - len(shown)
        yield Text(f"{hidden} cohorts with fewer than 11 speakers are not shown.")


def _digits(measure: str) -> int:
    return {"symbol_delay_ms": 0, "finalisation_ms": 0, "encoder_work": 3}.get(measure, 2)


def _detectable(value: float, measure: str) -> str:
    """Of error rates a gap in per cent of the best, of others a difference in their unit."""
    return f"{value:+.0f} %" if MEASURES[measure].errors else f"{value:+.{_digits(measure)}f}"


def _cell(found: Estimate | None, measure: str) -> str:
    if found is None or found.value is None:
        return DASH
    digits = _digits(measure)
    return f"{found.value:.{digits}f} {interval(found.interval, digits)}"

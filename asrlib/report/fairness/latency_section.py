"""Delay, compute and every other measure by cohort."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asrlib.cohorts.ranking import BOTTOM, MIDDLE, TOP
from asrlib.report.document import Block, Section, Table, Text
from asrlib.report.fairness.collect import Fairness
from asrlib.report.format import DASH, interval, number
from asrlib.scoring.cohort_frame import MEASURES, CohortFrame, CohortScores, Estimate, Split

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
_COMPARED = ("wer", "deletions", "symbol_delay_ms", "finalisation_ms", "encoder_work")
_SPLITS: dict[Split, str] = {
    "confirmation": "confirmation speakers",
    "other": "speakers of neither half",
}
_TEXT = (
    "Errors, delays and the encoder's work of the bottom and the top cohort of each method, with "
    "intervals over speakers. Of all cohorts of a method, the worst is compared with the best; "
    "chance: 95 % of permutations lie below it; detectable: what would show with a probability of "
    "80 %."
)
_STAGE = (
    "Not scored by cohort yet: stage 11 of run.sh does it, or `python -m asrlib score --cohorts "
    "DIR` for any decode."
)


def latency_sections(fairness: Fairness) -> list[Section]:
    """What decodes cost and how late they are, by cohort; discovery speakers are left out."""
    sections = []
    for where, scores in fairness.scores.items():
        for split, people in _SPLITS.items():
            frames = [(s, s.frames[split]) for s in scores if split in s.frames]
            if frames and any({BOTTOM, TOP} <= set(frame.sizes) for _, frame in frames):
                blocks = tuple(_blocks(fairness, frames, people))
                sections.append(Section(f"By cohort: {where}, {people}", blocks, 3))
    if sections:
        return [Section("Delay and compute by cohort", (Text(_TEXT),)), *sections]
    if fairness.judged:
        return [Section("Delay and compute by cohort", (Text(_STAGE),))]
    return []


def _blocks(
    fairness: Fairness, frames: Sequence[tuple[CohortScores, CohortFrame]], people: str
) -> Iterator[Block]:
    first, frame = frames[0]
    yield Text(f"{frame.speakers:,} {people} of set {first.meta.set}, model {first.meta.model}.")
    names = [name for name in MEASURES if name in frame.measures]
    header = ("method: cohort", "speakers", "% of audio", *(_TITLES[name] for name in names))
    rows, compared = [], []
    for scores, own in frames:
        hidden = _hidden(fairness, scores, own)
        for cohort in (BOTTOM, MIDDLE, TOP):
            if cohort in own.sizes and cohort not in hidden:
                size = own.sizes[cohort]
                cells = (_cell(own.measures[n].cohorts.get(cohort), n) for n in names)
                label = f"{scores.method}: {cohort}"
                rows.append((label, str(size.speakers), number(size.audio_share, 1), *cells))
        compared += _gaps(scores.method, own, hidden)
    cells = (_cell(frame.measures[n].overall, n) for n in names)
    rows.append(("all", str(frame.speakers), "100.0", *cells))
    yield Table(header, tuple(rows), 1, frozenset({len(rows) - 1}))
    header = ("method", "measure", "worst - best", "difference", "interval", "chance", "p")
    if compared:
        yield Table((*header, "detectable"), tuple(compared), 3)


def _hidden(fairness: Fairness, scores: CohortScores, frame: CohortFrame) -> set[str]:
    """The cohorts that have too few speakers to be shown."""
    own = [m for m in fairness.methods if m.name == scores.method]
    return {
        name
        for name, size in frame.sizes.items()
        if any(m.hides(size.speakers, fairness.public) for m in own)
    }


def _gaps(method: str, frame: CohortFrame, hidden: set[str]) -> Iterator[tuple[str, ...]]:
    for name in _COMPARED:
        gap = frame.measures[name].gap if name in frame.measures else None
        if gap is not None and not {gap.worst, gap.best} & hidden:
            digits = _digits(name)
            yield (
                method,
                _TITLES[name],
                f"{gap.worst} - {gap.best}",
                number(gap.difference, digits),
                interval(gap.difference_interval, digits, "+"),
                number(gap.null_difference, digits),
                f"{gap.p_value:.4f}",
                DASH if gap.detectable is None else _detectable(gap.detectable, name),
            )


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

"""Rows of a plan of speaker models, compared: a table for each test set and baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from asrlib.report.document import Block, Section, Table, Text
from asrlib.report.format import DASH, interval, number
from asrlib.verification.measure import TITLES
from asrlib.verification.records import Change, VoicePair, VoicePairs


def voice_pair_sections(found: VoicePairs) -> Iterator[Section]:
    """Describe the comparisons, by test set and baseline."""
    for test_set in sorted({pair.set for pair in found.pairs}):
        own = [pair for pair in found.pairs if pair.set == test_set]
        blocks: list[Block] = [Text(_explained(own[0]))]
        for baseline in dict.fromkeys(pair.baseline for pair in own):
            blocks += _against(baseline, [pair for pair in own if pair.baseline == baseline])
        yield Section(f"Rows compared on {test_set}", tuple(blocks))


def _explained(pair: VoicePair) -> str:
    return (
        "In parentheses: speakers of the group; of few of them, an interval is wide. "
        f"Means over the seeds that both rows have, on the same draws of {pair.found.speakers:,} "
        f"speakers; in brackets {100 * pair.found.resampling.confidence:g} % intervals for other "
        "speakers and, where there are several seeds, other seeds; no interval is corrected for "
        "the number of those shown. Misses and false alarms are those at the one threshold of each "
        "run, fixed on dev speakers: where misses fall because the threshold did, false alarms "
        "rise, and the EER stays. Gaps are those of the worst and the best group of the baseline, "
        "so they shrink a little by chance. Detectable: the smallest change of the misses that "
        "such an interval would show with a probability of 80 %."
    )


def _against(baseline: str, pairs: Sequence[VoicePair]) -> tuple[Block, Block]:
    changed = (f"{metric}, points" for metric in TITLES.values())
    header = ("row", "seeds", "group", "misses %", *changed, "misses by seed", "detectable")
    rows = []
    for pair in pairs:
        for group, changes in _groups(pair):
            misses = changes.get("misses")
            rows.append(
                (
                    *(pair.other, str(len(pair.seeds)), group, _both(misses)),
                    *(_change(changes.get(metric)) for metric in TITLES),
                    " ".join(f"{x:+.2f}" for x in misses.each) if misses else DASH,
                    _detectable(misses, pair.found.resampling.confidence),
                )
            )
    return Text(f"Each row minus the row `{baseline}`:"), Table(header, tuple(rows), 3)


def _groups(pair: VoicePair) -> Iterator[tuple[str, Mapping[str, Change]]]:
    yield "all", pair.found.all
    for column, changes in pair.found.groups.items():
        for value, of_group in changes.groups.items():
            yield f"{column} {value} ({changes.speakers[value]:,})", of_group
        if changes.gaps:
            names = " - ".join(changes.worst_and_best.get("misses", ()))
            yield f"{column}: gap {names}".rstrip(), changes.gaps
        if changes.spreads:
            yield f"{column}: spread", changes.spreads


def _both(change: Change | None) -> str:
    return DASH if change is None else f"{change.baseline:.2f} → {change.other:.2f}"


def _change(change: Change | None) -> str:
    if change is None:
        return DASH
    return f"{change.difference:+.2f} {interval(change.interval, sign='+')}"


def _detectable(change: Change | None, confidence: float) -> str:
    return number(None if change is None else change.detectable(confidence), 2)

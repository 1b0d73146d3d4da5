"""Tables of verification results for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from asrlib.scoring.speaker_sums import Interval
from asrlib.verification.measure import TITLES
from asrlib.verification.records import (
    Change,
    Disparity,
    EqualErrorRate,
    GroupRates,
    Rate,
    Threshold,
    Verification,
    VerificationComparison,
)

_DASH = "–"


def verification_text(found: Verification) -> str:
    """Format the results of one system."""
    lines = [
        f"{found.name}: {found.utterances} utterances, "
        f"{found.speakers} speakers{_with_targets(found)}; "
        f"{found.targets} target and {found.impostor_trials} impostor trials ({found.trials})",
        f"EER {_rate(found.eer)} %   minDCF({found.p_target:g}) "
        + (_DASH if found.min_dcf is None else f"{found.min_dcf:.3f}"),
    ]
    if found.threshold is None:
        lines.append("no threshold is fixed on dev, so there are no misses and false alarms")
    else:
        lines += [
            _threshold(found.threshold),
            f"misses {_counted(found.misses)}   false alarms {_counted(found.false_alarms)}",
        ]
    for column, table in found.groups.items():
        rows = [(column, "speakers", "misses %", "false alarms %", "EER %", "")]
        for g in table.groups:
            cells = (_rate(g.misses), _rate(g.false_alarms), _rate(g.eer))
            mark = "" if g.large_enough else "(not in the gap)"
            rows.append((g.value, f"{g.speakers}{_with_targets(g)}", *cells, mark))
        lines += ["", *aligned(rows)]
        lines += [f"  {_disparity(TITLES[m], d)}" for m, d in table.disparities.items()]
    return "\n".join(lines)


def _with_targets(found: Verification | GroupRates) -> str:
    """Say how many speakers have target trials, where not all of them do."""
    if found.target_speakers == found.speakers:
        return ""
    return f" ({found.target_speakers} with target trials)"


def comparison_text(found: VerificationComparison) -> str:
    """Format the comparison of two systems."""
    confidence = 100 * found.resampling.confidence
    lines = [
        f"{' + '.join(found.other)} against {' + '.join(found.baseline)}: changes in percentage "
        f"points, {confidence:g} % intervals, {found.speakers} speakers resampled; behind ±: the "
        "smallest change that would show with a probability of 80 %"
    ]
    header = ("", "misses", "false alarms", "EER")
    level = found.resampling.confidence
    lines += aligned([header, ("all", *_cells(found.all, level))])
    for column, changes in found.groups.items():
        rows = [(column, *header[1:])]
        rows += [(value, *_cells(of_group, level)) for value, of_group in changes.groups.items()]
        rows += [
            ("gap", *_cells(changes.gaps, level)),
            ("spread", *_cells(changes.spreads, level)),
        ]
        lines += ["", *aligned(rows)]
        pairs = [f"{TITLES[m]} {a} - {b}" for m, (a, b) in changes.worst_and_best.items()]
        lines += [f"  gaps of the baseline: {', '.join(pairs)}"] if pairs else []
    return "\n".join(lines)


def _threshold(threshold: Threshold) -> str:
    if threshold.dev_misses is None or threshold.dev_false_alarms is None:
        return f"threshold {threshold.value:.4f}, as given"
    return (
        f"threshold {threshold.value:.4f}, fixed on {threshold.dev_speakers} dev speakers "
        f"({threshold.rule}): misses {_percent(threshold.dev_misses)}, false alarms "
        f"{_percent(threshold.dev_false_alarms)}, EER {threshold.dev_eer:.2f} %"
    )


def _percent(rate: Rate) -> str:
    return _DASH if rate.percent is None else f"{rate.percent:.2f} %"


def _ends(interval: Interval | None, sign: str = "") -> str:
    return f"[{interval[0]:{sign}.2f}, {interval[1]:{sign}.2f}]" if interval else "[no interval]"


def _rate(rate: Rate | EqualErrorRate | None) -> str:
    if rate is None or rate.percent is None:
        return _DASH
    return f"{rate.percent:.2f} {_ends(rate.interval)}"


def _counted(rate: Rate | None) -> str:
    return _DASH if rate is None else f"{_rate(rate)} % ({rate.errors} / {rate.trials})"


def _disparity(title: str, unequal: Disparity) -> str:
    text = (
        f"{title}: {unequal.worst} - {unequal.best} = {unequal.gap:.2f} "
        f"{_ends(unequal.gap_interval, '+')}"
    )
    if unequal.ratio is not None:
        text += f", ratio {unequal.ratio:.2f} {_ends(unequal.ratio_interval)}"
    text += f", spread {unequal.spread:.2f}"
    if unequal.chance is not None:
        text += f"; by chance below {unequal.chance:.2f} (p = {unequal.p_value:.3f})"
    return text


def _cells(changes: dict[str, Change], confidence: float) -> tuple[str, ...]:
    cells = []
    for metric in TITLES:
        change = changes.get(metric)
        if change is None:
            cells.append(_DASH)
            continue
        smallest = change.detectable(confidence)
        shows = "" if smallest is None else f" ±{smallest:.2f}"
        cells.append(f"{change.difference:+.2f} {_ends(change.interval, '+')}{shows}")
    return tuple(cells)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]

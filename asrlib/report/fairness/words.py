"""What cohorts are called, and the sentence that leads the page."""

from __future__ import annotations

from collections.abc import Sequence

from asrlib.cohorts.clusters import ClusterRule
from asrlib.cohorts.geodemographic import AttributeRule
from asrlib.cohorts.metadata import ColumnRule
from asrlib.cohorts.ranking import BOTTOM
from asrlib.cohorts.scan import CircleRule
from asrlib.cohorts.tree import AXES, TreeRule
from asrlib.report.fairness.collect import Fairness, Method
from asrlib.report.format import OPEN, degrees, interval, place
from asrlib.scoring.confirmation import CohortRate

_REGION = {("latitude", 0): "south of", ("latitude", 1): "north of"}
_REGION |= {("longitude", 0): "west of", ("longitude", 1): "east of"}


def bottom_name(method: Method) -> str:
    """Who is in the bottom cohort, by the rule that assigns speakers."""
    rule = method.definition.rule
    if isinstance(rule, CircleRule):
        centre = place(rule.latitude, rule.longitude)
        return f"speakers within {rule.radius_km:,.0f} km of {centre}"
    if isinstance(rule, TreeRule):
        return f"speakers {_region(rule, BOTTOM)}"
    if isinstance(rule, AttributeRule):
        return f"zip codes whose largest group is {' or '.join(rule.bottom)}"
    if isinstance(rule, ColumnRule):
        return " and ".join(f"{c} {v}" for c, v in zip(rule.columns, rule.bottom, strict=True))
    assert isinstance(rule, ClusterRule)
    more = "".join(f", {m.column}" for m in rule.measures)
    return (
        f"voices of {rule.cohorts.count(BOTTOM)} of {len(rule.cohorts)} clusters (embeddings{more})"
    )


def _region(rule: TreeRule, cohort: str) -> str:
    """The sides of the region, from the thresholds on the way to its leaf."""
    sides: dict[tuple[str, int], float] = {}
    paths: list[tuple[int, dict[tuple[str, int], float]]] = [(0, {})]
    while paths:
        number, known = paths.pop()
        node = rule.nodes[number]
        if node.axis is None or node.threshold is None:
            if node.cohort == cohort:
                sides = known
            continue
        for side, child in ((0, node.left), (1, node.right)):
            assert child is not None
            paths.append((child, {**known, (node.axis, side): node.threshold}))
    words = [
        f"{_REGION[axis, side]} {degrees(axis, sides[axis, side])}"
        for axis in AXES
        for side in (1, 0)
        if (axis, side) in sides
    ]
    return ", ".join(words) or "everywhere"


def rate_words(rate: CohortRate, digits: int = 1) -> str:
    """`17.9 % [12.0, 26.3]`."""
    return f"{rate.percent:.{digits}f} % {interval(rate.interval, digits)}"


def lead_sentence(fairness: Fairness) -> str:
    """The one sentence: the worst confirmed cohort, or how large a gap would have shown."""
    judged = fairness.judged
    if not judged:
        if not fairness.tried:
            return "Nobody has looked for cohorts yet: stage 9 of run.sh finds and judges them."
        return (
            f"Nothing confirmed: of {len(fairness.tried)} methods "
            f"{len(fairness.methods)} found a cohort, and none was judged on other speakers."
        )
    confirmed = [m for m in judged if _is_shown(m, fairness.public)]
    if confirmed:
        worst = max(confirmed, key=lambda m: m.judged.bottom.percent)  # pyrefly: ignore
        return _confirmed_sentence(worst)
    if any(m.judged is not None and m.judged.is_confirmed for m in judged):
        return "A cohort of places was confirmed; it has too few speakers to be shown."
    return f"Nothing confirmed; {power_sentence(judged)}."


def _is_shown(method: Method, public: bool) -> bool:
    one = method.judged
    if one is None or one.bottom is None or one.rest is None or not one.is_confirmed:
        return False
    return not method.hides(one.bottom.speakers, public)


def _confirmed_sentence(method: Method) -> str:
    one = method.judged
    assert one is not None
    assert one.bottom is not None
    assert one.rest is not None
    return (
        f"Worst confirmed cohort: {bottom_name(method)}, WER {rate_words(one.bottom)} against "
        f"{rate_words(one.rest)} of all others, {one.bottom.share:.0f} % of speakers; found on "
        f"{one.discovery_speakers:,} speakers, confirmed on {one.confirmation_speakers:,} others."
    )


def power_sentence(judged: Sequence[Method]) -> str:
    """How large a gap the confirmation speakers would show, by the methods' own cohorts."""
    found = [(m.judged.detectable_gap, m.name) for m in judged if m.judged is not None]
    gaps = sorted((gap, name) for gap, name in found if gap is not None and gap < OPEN)
    if not gaps:
        return "this set would show no gap of any size: its cohorts have too few speakers"
    (low, first), (high, last) = gaps[0], gaps[-1]
    if f"{low:,.0f}" == f"{high:,.0f}":
        return f"this set would show gaps above {low:,.0f} %"
    return f"this set would show gaps above {low:,.0f} % ({first}) to {high:,.0f} % ({last})"


def detectable_words(gap: float | None) -> str:
    """The smallest gap that would show, for a table."""
    if gap is None:
        return "none"
    return f"{gap:,.0f}" if gap < OPEN else f"> {OPEN}"

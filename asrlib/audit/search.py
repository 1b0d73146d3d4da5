"""Find cohorts on the discovery half by every method that the input allows; judge them once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from asrlib.audit.given import speaker_rates
from asrlib.audit.record import Searched
from asrlib.cohorts.clusters import ClusterRule
from asrlib.cohorts.definition import Definition, read_definition
from asrlib.cohorts.explain import Explanation, explain
from asrlib.cohorts.find import Settings, find_all
from asrlib.cohorts.geodemographic import AttributeRule
from asrlib.cohorts.metadata import ColumnRule
from asrlib.cohorts.places import MIN_SHOWN, coordinates, hidden
from asrlib.cohorts.ranking import BOTTOM
from asrlib.cohorts.scan import CircleRule
from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import DataError
from asrlib.scoring.confirmation import Confirmation, confirm, correct
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import SpeakerSums
from asrlib.scoring.wer import Aligned, ErrorRate

_OF_PLACES = ("tree", "scan", "geodemographic")


def search_cohorts(
    discovery: SpeakerTable,
    confirmation: SpeakerTable,
    aligned: Sequence[Aligned],
    errors: Mapping[str, ErrorRate],
    settings: Settings,
    resampling: Resampling,
    out: Path,
) -> tuple[Searched, ...]:
    """Find, confirm and explain; p-values are corrected over all methods that were tried.

    Args:
        errors: of all speakers; those of confirmation speakers are not read before the cohorts
            stand.
        out: each method's definition and cohorts are written to a directory of its name below.

    Raises:
        DataError: the table of shares cannot be used.
    """
    lacking = _lacking((discovery, confirmation), settings)
    found_on = {s: errors[s] for s in discovery.speakers}
    tried = tuple(m for m in settings.methods if m not in lacking)
    outcomes = find_all(discovery, confirmation, found_on, replace(settings, methods=tried), out)
    drafts = []
    for method in settings.methods:
        outcome = lacking.get(method) or outcomes[method]
        if method in lacking:
            drafts.append(Searched(method=method, tried=False, outcome=outcome, rates={}))
        elif outcome.startswith("nothing found"):
            # It was tried, so it counts in the correction, with a p-value of 1.
            nothing = _confirm(method, discovery, confirmation, errors, {}, resampling)
            drafts.append(
                Searched(method=method, tried=True, outcome=outcome, confirmation=nothing, rates={})
            )
        else:
            definition = read_definition(out / method)
            drafts.append(
                _judged(definition, outcome, discovery, confirmation, aligned, errors, settings,
                        resampling)
            )  # fmt: skip
    judged = iter(correct([s.confirmation for s in drafts if s.confirmation is not None]))
    corrected = [replace(s, confirmation=next(judged)) if s.confirmation else s for s in drafts]
    return tuple(_shown(s, settings.public) for s in corrected)


def _lacking(halves: Sequence[SpeakerTable], settings: Settings) -> dict[str, str]:
    """Say of each method that cannot be tried what it lacks."""
    lacking = {}
    if not any(np.isfinite(coordinates(t, settings.public)).any() for t in halves):
        for method in ("tree", "scan"):
            lacking[method] = "no coordinates or zip codes of the United States"
    if settings.config.geodemographic.table is None:
        lacking["geodemographic"] = "no table of shares by zip code (--shares)"
    vectors = [t.vectors_SD for t in halves if t.vectors_SD is not None]
    if not any(np.isfinite(v).any() for v in vectors):
        for method in ("automatic", "automatic_measured"):
            lacking[method] = "neither audio (--audio) nor embeddings (--embeddings)"
    elif not settings.config.automatic.measures:
        lacking["automatic_measured"] = "no measured columns such as snr_db"
    if not settings.columns:
        lacking["metadata"] = "no column of the table of speakers makes groups"
    return lacking


def _confirm(
    method: str,
    discovery: SpeakerTable,
    confirmation: SpeakerTable,
    errors: Mapping[str, ErrorRate],
    cohorts: Mapping[str, str],
    resampling: Resampling,
    found_null_gap: float | None = None,
) -> Confirmation:
    first, second = (
        SpeakerSums.of({s: errors[s] for s in t.speakers}) for t in (discovery, confirmation)
    )
    return confirm(method, first, second, cohorts, resampling, found_null_gap=found_null_gap)


def _judged(
    definition: Definition,
    outcome: str,
    discovery: SpeakerTable,
    confirmation: SpeakerTable,
    aligned: Sequence[Aligned],
    errors: Mapping[str, ErrorRate],
    settings: Settings,
    resampling: Resampling,
) -> Searched:
    """Judge what a method found, and explain it, on confirmation speakers."""
    cohorts: dict[str, str] = {}
    for table in (discovery, confirmation):
        cohorts |= dict(zip(table.speakers, definition.assign(table).cohorts, strict=True))
    null = definition.evidence.null_gap_95
    judged = _confirm(
        definition.method, discovery, confirmation, errors, cohorts, resampling,
        None if null is None else 100 * null,
    )  # fmt: skip
    own = {s: cohorts[s] for s in confirmation.speakers}
    explanation, note = _explained(definition, own, confirmation, aligned, settings)
    sides = {s: "bottom" if c == BOTTOM else "all others" for s, c in own.items()}
    return Searched(
        method=definition.method,
        tried=True,
        outcome=outcome,
        bottom=described(definition),
        confirmation=judged,
        explanation=explanation,
        note=note,
        rates=speaker_rates(errors, sides),
    )


def _explained(
    definition: Definition,
    cohorts: Mapping[str, str],
    table: SpeakerTable,
    aligned: Sequence[Aligned],
    settings: Settings,
) -> tuple[Explanation | None, str]:
    """Explain by other columns than those that define the cohort; they would explain it all."""
    own = [a for a in aligned if a.utterance.speaker in cohorts]
    rule = definition.rule
    defining = rule.columns if isinstance(rule, ColumnRule) else ()
    columns, covariates = (
        [c for c in names if c not in defining]
        for names in (settings.columns, settings.config.covariates)
    )
    try:
        found = explain(
            definition.method, "confirmation", cohorts, table, own, columns, settings.bands,
            covariates,
        )  # fmt: skip
    except DataError as e:
        return None, f"No explanation: {e.what}."
    return found, ""


def _shown(searched: Searched, public: bool) -> Searched:
    """Hide cohorts of places with few confirmation speakers."""
    judged = searched.confirmation
    if judged is None or not searched.bottom or searched.method not in _OF_PLACES:
        return searched
    sizes = [r.speakers for r in (judged.bottom, judged.top) if r is not None]
    if not any(hidden(n, public) for n in sizes):
        return searched
    note = (
        f"Hidden: a cohort of places has fewer than {MIN_SHOWN} confirmation speakers, who could "
        "be recognised (--public shows it)."
    )
    return Searched(
        method=searched.method, tried=True, outcome="found, but hidden", note=note, rates={}
    )


def described(definition: Definition) -> str:
    """Say what makes a speaker a member of the bottom cohort."""
    rule = definition.rule
    if isinstance(rule, ColumnRule):
        return ", ".join(f"{c} {v}" for c, v in zip(rule.columns, rule.bottom, strict=True))
    if isinstance(rule, CircleRule):
        digits = 4 if rule.public else 1
        place = f"{rule.latitude:.{digits}f}, {rule.longitude:.{digits}f}"
        return f"homes within {rule.radius_km:.0f} km of {place}"
    if isinstance(rule, AttributeRule):
        return f"zip codes whose largest group is {' or '.join(rule.bottom)}"
    if isinstance(rule, ClusterRule):
        bottom = rule.cohorts.count(BOTTOM)
        extra = f" and {', '.join(m.column for m in rule.measures)}" if rule.measures else ""
        return f"{bottom} of {len(rule.cohorts)} clusters of voices{extra}"
    return "the region with the most errors of a tree of latitude and longitude"

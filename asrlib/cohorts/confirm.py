"""Judge on confirmation speakers, once, the cohorts that were found on discovery speakers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asrlib import __version__
from asrlib.cohorts.definition import read_definition
from asrlib.cohorts.find import read_tried
from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.scoring.cohort_frame import read_cohort_map
from asrlib.scoring.confirmation import Confirmation, confirm, correct
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.records import DecodeMeta
from asrlib.scoring.speaker_sums import SpeakerSums
from asrlib.scoring.utt_counts import COUNTS_FILE, read_counts, sum_counts
from asrlib.scoring.wer import ErrorRate

log = logging.getLogger(__name__)

CONFIRMATION_FILE = "confirmation.json"


@dataclass(frozen=True, kw_only=True)
class ConfirmedMethod(JsonRecord):
    """exp/cohorts/METHOD/confirmation.json.

    Attributes:
        version: version of the program that judged.
        corpus: as in definition.json.
        discovery, confirmation: what was decoded of the two halves; the same decode if the test
            speakers were divided in halves.
        methods: all methods that were tried; p-values are corrected for them together. One that
            found nothing counts with p = 1.
        judged: the confirmation, corrected.
        resampling: settings of intervals and permutations.
    """

    version: str
    corpus: str
    discovery: DecodeMeta
    confirmation: DecodeMeta
    methods: tuple[str, ...]
    judged: Confirmation
    resampling: Resampling


@dataclass(frozen=True)
class Decoded:
    """A decoded set: what it is, and the errors of its speakers."""

    meta: DecodeMeta
    errors: Mapping[str, ErrorRate]


def read_decoded(decode_dir: Path) -> Decoded:
    """Read a decoded and scored set.

    Raises:
        DataError: it was not decoded or not scored.
    """
    meta = DecodeMeta.from_file(decode_dir / "meta.json", "decode the set first")
    return Decoded(meta, sum_counts(read_counts(decode_dir / COUNTS_FILE)))


def confirm_all(
    out: Path,
    found_file: Path,
    discovery: Decoded,
    confirmation: Decoded,
    resampling: Resampling,
) -> dict[str, ConfirmedMethod]:
    """Judge every method that found cohorts, and write its confirmation.json.

    Args:
        out: exp/cohorts, with a directory for each method that found cohorts.
        found_file: found.json, which names all methods that were tried.

    Returns:
        The judged methods.

    Raises:
        DataError: cohorts are missing or broken, or are those of another corpus.
    """
    judged: dict[str, Confirmation | None] = {}
    corpora: dict[str, str] = {}
    for method in read_tried(found_file):
        if not (out / method).is_dir():
            judged[method] = None
            continue
        definition = read_definition(out / method)
        corpora[method] = definition.corpus
        null = definition.evidence.null_gap_95
        judged[method] = _judge(
            method, out / method, discovery, confirmation, resampling, null and 100 * null
        )
    found = {method: one for method, one in judged.items() if one is not None}
    corrected = correct(list(found.values()), len(judged))
    results = {}
    for method, one in zip(found, corrected, strict=True):
        results[method] = ConfirmedMethod(
            version=__version__,
            corpus=corpora[method],
            discovery=discovery.meta,
            confirmation=confirmation.meta,
            methods=tuple(judged),
            judged=one,
            resampling=resampling,
        )
        results[method].to_file(out / method / CONFIRMATION_FILE)
    return results


def _judge(
    method: str,
    directory: Path,
    discovery: Decoded,
    confirmation: Decoded,
    resampling: Resampling,
    found_null_gap: float | None,
) -> Confirmation:
    known = read_cohort_map(directory)
    halves = {}
    for split, decoded in (("discovery", discovery), ("confirmation", confirmation)):
        errors = {s: e for s, e in decoded.errors.items() if known.splits.get(s) == split}
        if not errors:
            raise DataError(
                f"{directory}: names no {split} speaker of {decoded.meta.set}: the cohorts are of "
                "another corpus",
                "find them again: python -m asrlib cohorts find",
            )
        halves[split] = SpeakerSums.of(errors)
    return confirm(
        method,
        halves["discovery"],
        halves["confirmation"],
        known.cohorts,
        resampling,
        found_null_gap=found_null_gap,
    )


def sentence(one: Confirmation) -> str:
    """Say what came out, for people."""
    if one.confirmed is None or one.bottom is None:
        return "no bottom and top cohort with words among the confirmation speakers"
    gap = "no gap, since top makes no error"
    if one.confirmed.gap is not None:
        gap = f"gap {one.confirmed.gap:+.0f} %"
        if one.confirmed.gap_interval is not None:
            gap += " [{:+.0f}, {:+.0f}]".format(*one.confirmed.gap_interval)
    smallest = one.detectable_gap
    power = "no gap would show" if smallest is None else f"gaps above {smallest:.0f} % would show"
    verdict = "confirmed" if one.is_confirmed else "not confirmed"
    return (
        f"{verdict}: bottom {one.bottom.percent:.1f} % of {one.bottom.speakers} speakers, {gap}, "
        f"p = {one.p_holm:.4f}; {power}"
    )

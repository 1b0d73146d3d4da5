"""Which attributes are more frequent in the bottom cohort than among the other speakers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import fisher_exact
from statsmodels.stats.multitest import multipletests

from asrlib.cohorts.metadata import values_of
from asrlib.cohorts.table import SpeakerTable
from asrlib.json_record import JsonRecord
from asrlib.scoring.groups import UNKNOWN

_LEAST = 5  # speakers with an attribute; of rarer ones no difference could show


@dataclass(frozen=True)
class Enrichment(JsonRecord):
    """An attribute, or a pair of attributes, in the bottom cohort and elsewhere.

    Attributes:
        attributes: value by column; one or two.
        bottom, others: number of speakers with the attribute.
        bottom_known, others_known: number of speakers of whom it is known whether they have it.
        odds_ratio: odds in the bottom cohort over odds elsewhere; with a half added to each count
            if one is 0 (Haldane and Anscombe).
        p_value: of Fisher's exact test, two-sided.
        corrected_p: after Holm, over all attributes and pairs that were looked at.
    """

    attributes: dict[str, str]
    bottom: int
    bottom_known: int
    others: int
    others_known: int
    odds_ratio: float
    p_value: float
    corrected_p: float


def enrichment(
    table: SpeakerTable,
    bottom_S: np.ndarray,
    columns: Sequence[str],
    bands: Mapping[str, Sequence[float]],
) -> tuple[Enrichment, ...]:
    """Compare each attribute, and each pair of attributes of two columns, by p-value.

    Args:
        table: speakers whose cohort is known.
        bottom_S: whether a speaker is in the bottom cohort.
        columns: the columns to look at; others are ignored, as are values of few speakers.
        bands: ascending band edges of columns with numbers.
    """
    present = [c for c in columns if c in table.columns]
    found: list[tuple[dict[str, str], np.ndarray, float, float]] = []
    looked_at: list[tuple[str, ...]] = [(c,) for c in present]
    for names in looked_at + list(itertools.combinations(present, 2)):
        rows = list(zip(*(values_of(table, c, bands) for c in names), strict=True))
        known_S = np.array([UNKNOWN not in row for row in rows], dtype=bool)
        values = sorted(set(itertools.compress(rows, known_S)))
        for value in values if len(values) > 1 else ():
            has_S = np.array([row == value for row in rows], dtype=bool)
            counts = _counts(has_S, known_S, bottom_S)
            if has_S.sum() >= _LEAST and counts.sum(axis=1).all():
                p = float(fisher_exact(counts)[1])
                found.append((dict(zip(names, value, strict=True)), counts, _odds(counts), p))
    if not found:
        return ()
    corrected = multipletests([p for *_, p in found], method="holm")[1]
    results = [
        Enrichment(
            attributes,
            int(counts[0, 0]),
            int(counts[0].sum()),
            int(counts[1, 0]),
            int(counts[1].sum()),
            odds,
            p,
            float(adjusted),
        )
        for (attributes, counts, odds, p), adjusted in zip(found, corrected, strict=True)
    ]
    return tuple(sorted(results, key=lambda e: (e.p_value, len(e.attributes))))


def _counts(has_S: np.ndarray, known_S: np.ndarray, bottom_S: np.ndarray) -> np.ndarray:
    """Rows: bottom, others; columns: with the attribute, without."""
    return np.array(
        [
            [np.sum(has_S & side_S), np.sum(known_S & ~has_S & side_S)]
            for side_S in (bottom_S, ~bottom_S)
        ]
    )


def _odds(counts: np.ndarray) -> float:
    (a, b), (c, d) = counts + (0.5 if (counts == 0).any() else 0.0)
    return float(a * d / (b * c))

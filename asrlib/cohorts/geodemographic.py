"""Two parts of zip codes by their majority attribute, after arXiv 2207.11345.

A zip code's majority attribute is the column with the largest share in a table of shares. The
attributes are divided into two parts so that the gap between their error rates is largest.

Shapes: S speakers, A attributes that occur.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from asrlib.cohort_file import BOTTOM, TOP
from asrlib.cohorts.config import GeodemographicConfig
from asrlib.cohorts.places import five_digits, shown_zip
from asrlib.cohorts.ranking import sum_groups
from asrlib.cohorts.search import Assignment, Candidate
from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.scoring.groups import UNKNOWN

COPY = "attributes.csv"  # the table of shares beside a definition
OTHER = "other"  # an attribute that no discovery speaker has


@dataclass(frozen=True)
class ZipAttributes:
    """The majority attribute of each zip code.

    Attributes:
        of: attribute by five-digit zip code.
        names: all attributes, in the order of the table.
        sha256: hash of the table's text.
        text: the table, to be copied beside the definition.
    """

    of: dict[str, str]
    names: tuple[str, ...]
    sha256: str
    text: str


def read_attributes(
    path: Path, zip_column: str = "zip", attributes: Sequence[str] = ()
) -> ZipAttributes:
    """Read a CSV file of shares.

    Of equal shares the first column counts. A zip code without a positive share has no attribute.

    Raises:
        DataError: the file is missing, lacks a column, or has a share that is no number.
    """
    fix = "give a CSV file with a column of zip codes and a column of shares for each attribute"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: cannot be read ({type(e).__name__})", fix) from None
    reader = csv.DictReader(io.StringIO(text))
    columns = [name for name in reader.fieldnames or () if name]
    names = tuple(attributes) or tuple(name for name in columns if name != zip_column)
    missing = [name for name in (zip_column, *names) if name not in columns]
    if missing or len(names) < 2:
        raise DataError(
            f"{path}: " + (f"has no column {missing[0]}" if missing else "has no two attributes"),
            fix,
        )
    of: dict[str, str] = {}
    for number, row in enumerate(reader, 2):
        try:
            shares = [float(row[name] or 0) for name in names]
        except (TypeError, ValueError):
            raise DataError(f"{path}: line {number}: a share is no number", fix) from None
        largest = max(s if math.isfinite(s) else 0.0 for s in shares)
        if largest > 0:
            of[five_digits(row[zip_column] or "")] = names[shares.index(largest)]
    of.pop("", None)
    return ZipAttributes(of, names, hashlib.sha256(text.encode()).hexdigest(), text)


def attribute_of(value: str, table: ZipAttributes) -> tuple[str, str]:
    """Return the attribute of a speaker's zip code, and else why there is none."""
    if not value.strip():
        return "", "no zip code"
    digits = five_digits(value)
    if not digits:
        return "", "zip code without five digits (foreign, or its leading zero was lost)"
    attribute = table.of.get(digits, "")
    return attribute, "" if attribute else "zip code not in the table"


@dataclass(frozen=True)
class AttributeRule(JsonRecord):
    """Which majority attributes are `bottom` and which `top`.

    Attributes:
        bottom, top: attributes.
        zip_column, attributes: columns of the table.
        table_sha256: hash of the table's text.
        public: whether files may hold whole zip codes; else their first three digits.
        table: path of the table; the reader of a definition sets it to the copy beside it.
    """

    bottom: tuple[str, ...]
    top: tuple[str, ...]
    zip_column: str
    attributes: tuple[str, ...]
    table_sha256: str
    public: bool
    table: str
    kind: Literal["attributes"] = field(default="attributes")

    def assign(self, table: SpeakerTable) -> Assignment:
        """Look up each zip code's majority attribute; without one the cohort is unknown.

        Raises:
            DataError: the table of shares is missing, or is another one.
        """
        shares = read_attributes(Path(self.table), self.zip_column, self.attributes)
        if shares.sha256 != self.table_sha256:
            raise DataError(
                f"{self.table}: is not the table that the cohorts were found with",
                "bring that table back, or find the cohorts again",
            )
        cohort = dict.fromkeys(self.bottom, BOTTOM) | dict.fromkeys(self.top, TOP)
        cohorts, used, reasons = [], [], []
        for value in table.column("zip"):
            attribute, reason = attribute_of(value, shares)
            cohorts.append(cohort.get(attribute, OTHER) if attribute else UNKNOWN)
            shown = {"zip": shown_zip(value, self.public), "attribute": attribute}
            used.append(shown if attribute else {})
            reasons.append(reason)
        return Assignment(tuple(cohorts), tuple(used), tuple(reasons))


@dataclass(frozen=True)
class AttributeSearch:
    """The search for two parts of attributes.

    Attributes:
        group_S: number of each speaker's attribute in `names`.
        names: attributes that occur among the speakers.
        shares: the table.
        min_speakers: fewest speakers of a part.
    """

    group_S: np.ndarray
    names: tuple[str, ...]
    shares: ZipAttributes
    table: Path
    config: GeodemographicConfig
    min_speakers: int
    public: bool

    def find(self, errors_S: np.ndarray, words_S: np.ndarray) -> Candidate | None:
        """Find the partition with the largest gap; None if no partition is allowed or unequal."""
        A = len(self.names)
        if A < 2:
            return None
        speakers_A = np.bincount(self.group_S, minlength=A)
        errors_A = np.bincount(self.group_S, errors_S, minlength=A)
        words_A = np.bincount(self.group_S, words_S, minlength=A)
        least = max(self.min_speakers, math.ceil(self.config.min_share * len(self.group_S)))
        measure = _Gaps(speakers_A, errors_A, words_A, least)
        if self.config.exhaustive >= A:
            best = measure.best(_all_parts(A))
            bottom_A = None if best is None else best[1]
        else:
            rate_A = np.divide(errors_A, words_A, out=np.zeros(A), where=words_A > 0)
            bottom_A = _climb(measure, np.argsort(-rate_A, kind="stable"))
        if bottom_A is None:
            return None
        group_S = np.where(bottom_A[self.group_S], 0, 1)
        sums = sum_groups(group_S, errors_S, words_S, 2)
        return Candidate(group_S, (BOTTOM, TOP), sums, bottom_A)

    def rule(self, candidate: Candidate) -> AttributeRule:
        """Return the two parts by name."""
        bottom_A: np.ndarray = candidate.model
        parts = [
            tuple(name for name, low in zip(self.names, bottom_A, strict=True) if low == wanted)
            for wanted in (True, False)
        ]
        return AttributeRule(
            parts[0],
            parts[1],
            self.config.zip_column,
            self.shares.names,
            self.shares.sha256,
            self.public,
            str(self.table),
        )


@dataclass(frozen=True)
class _Gaps:
    """The gap of each of Q parts of A attributes to its complement: (bottom - top) / top."""

    speakers_A: np.ndarray
    errors_A: np.ndarray
    words_A: np.ndarray
    least: int

    def best(self, parts_QA: np.ndarray) -> tuple[tuple[float, float], np.ndarray] | None:
        """Return gap and difference, and the part, of the largest gap; None if none is allowed.

        A gap over a top without errors is infinite; of such, the largest difference counts.
        """
        speakers_Q, words_Q = parts_QA @ self.speakers_A, parts_QA @ self.words_A
        others_Q, other_words_Q = self.speakers_A.sum() - speakers_Q, self.words_A.sum() - words_Q
        large_Q = np.minimum(speakers_Q, others_Q) >= self.least
        parts_QA = parts_QA[large_Q & (np.minimum(words_Q, other_words_Q) > 0)]
        if not len(parts_QA):
            return None
        errors_Q, words_Q = parts_QA @ self.errors_A, parts_QA @ self.words_A
        high_Q = errors_Q / words_Q
        low_Q = (self.errors_A.sum() - errors_Q) / (self.words_A.sum() - words_Q)
        rise_Q = high_Q - low_Q
        with np.errstate(divide="ignore", invalid="ignore"):
            gap_Q = np.where(rise_Q > 0, rise_Q / np.maximum(low_Q, 0.0), 0.0)
        q = np.lexsort((rise_Q, gap_Q))[-1]
        return ((float(gap_Q[q]), float(rise_Q[q])), parts_QA[q]) if rise_Q[q] > 0 else None


@functools.cache
def _all_parts(A: int) -> np.ndarray:
    """All parts of A attributes but the empty and the whole one, as masks (2^A - 2, A)."""
    return (np.arange(1, 2**A - 1)[:, None] >> np.arange(A) & 1).astype(bool)


def _climb(measure: _Gaps, worst_first_A: np.ndarray) -> np.ndarray | None:
    """Cut the attributes, ranked by error rate, at the best place; then move single ones."""
    A = len(worst_first_A)
    rank_A = np.empty(A, dtype=np.int64)
    rank_A[worst_first_A] = np.arange(A)
    best = measure.best(rank_A < np.arange(1, A)[:, None])
    while best is not None:
        better = measure.best(best[1] ^ np.eye(A, dtype=bool))
        if better is None or better[0] <= best[0]:
            return best[1]
        best = better
    return None

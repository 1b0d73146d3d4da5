"""Find cohorts on discovery speakers by every method, and assign confirmation speakers.

Shapes: S discovery speakers with reference words.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asrlib.cohort_file import Split
from asrlib.cohorts.clusters import ClusterSearch
from asrlib.cohorts.config import METHODS, CohortsConfig
from asrlib.cohorts.definition import Definition, cohort_lines, write_cohorts
from asrlib.cohorts.geodemographic import AttributeSearch, attribute_of, read_attributes
from asrlib.cohorts.metadata import MetadataSearch, values_of
from asrlib.cohorts.places import MIN_SHOWN, coordinates
from asrlib.cohorts.scan import ScanSearch
from asrlib.cohorts.search import CannotSearch, Search, weigh
from asrlib.cohorts.table import SpeakerTable
from asrlib.cohorts.tree import TreeSearch
from asrlib.data.halves import halves
from asrlib.errors import DataError, first_few
from asrlib.files import atomic_write
from asrlib.scoring.wer import ErrorRate
from asrlib.seeds import derive_seed

log = logging.getLogger(__name__)

COHORTS_VERSION = 2  # raise it when the same inputs give other cohorts; see asrlib/stamps.py
FOUND_FILE = "found.json"

_NOTHING = {
    "tree": "The pruned tree has one region: places do not predict the rates of other speakers.",
    "scan": "No circle is worse than the rest.",
    "geodemographic": "No two parts of attributes are large enough and unequal.",
    "automatic": "All clusters have the same error rate.",
    "automatic_measured": "All clusters have the same error rate.",
    "metadata": "No column has two groups that are large enough and unequal.",
}


@dataclass(frozen=True)
class Settings:
    """What the methods need beside the speakers.

    Attributes:
        config: conf/cohorts.yaml.
        methods: the methods to run.
        columns: columns of the method `metadata`.
        bands: ascending band edges of columns with numbers.
        public: whether exact places may be used and written.
        title: title of the corpus.
        folder: directory below which a relative path of the table of shares lies.
    """

    config: CohortsConfig
    methods: tuple[str, ...] = METHODS
    columns: tuple[str, ...] = ()
    bands: Mapping[str, Sequence[float]] = field(default_factory=dict)
    public: bool = False
    title: str = "corpus"
    folder: Path = Path()

    @property
    def min_at_place(self) -> int:
        """Fewest speakers of a cohort of places, which must be large enough to be shown."""
        return self.config.min_speakers if self.public else max(self.config.min_speakers, MIN_SHOWN)

    def identity(self, discovery: SpeakerTable) -> str:
        """Return what ties a definition to its corpus."""
        ids = "\n".join(sorted(discovery.speakers)).encode()
        return f"{self.title} (discovery speakers {hashlib.sha256(ids).hexdigest()[:12]})"


@dataclass(frozen=True)
class _Prepared:
    """A search, and which speakers take part in it."""

    search: Search
    takes_part_S: np.ndarray


def check_halves(discovery: SpeakerTable, confirmation: SpeakerTable) -> None:
    """Check that no speaker is in both halves.

    Raises:
        DataError: some are.
    """
    both = sorted(set(discovery.speakers) & set(confirmation.speakers))
    if both:
        raise DataError(
            f"speakers in both halves, discovery and confirmation: {first_few(both)}",
            "cohorts must be judged on other speakers than those they were found on; move each "
            "speaker into one half",
        )


def divide(
    table: SpeakerTable,
    bands: Mapping[str, Sequence[float]],
    columns: Sequence[str] = ("gender", "age"),
) -> tuple[SpeakerTable, SpeakerTable]:
    """Divide the speakers of one set into discovery and confirmation, within these columns."""
    values = [values_of(table, column, bands) for column in columns]
    strata = [" ".join(row) for row in zip(*values, strict=True)] or [""] * len(table)
    half_of = halves(dict(zip(table.speakers, strata, strict=True)))
    first_S = np.array([half_of[s] == "discovery" for s in table.speakers], dtype=bool)
    return table.select(first_S), table.select(~first_S)


def find_cohorts(
    method: str, discovery: SpeakerTable, errors: Mapping[str, ErrorRate], settings: Settings
) -> Definition:
    """Find the cohorts of one method; errors of other speakers than discovery's are ignored.

    Raises:
        CannotSearch: the method lacks what it needs, or found nothing; the message says which.
        DataError: the table of shares cannot be used.
    """
    counted_S = np.array([s in errors and errors[s].words > 0 for s in discovery.speakers], bool)
    table = discovery.select(counted_S)
    if len(table) < 2:
        raise CannotSearch(f"{len(table)} discovery speakers have words; a comparison needs two.")
    if len(table) < len(discovery):
        log.info("%d discovery speakers have no words", len(discovery) - len(table))
    errors_S = np.array([errors[s].errors for s in table.speakers], dtype=np.float64)
    words_S = np.array([errors[s].words for s in table.speakers], dtype=np.float64)
    if not errors_S.any():
        raise CannotSearch("There is no error at all, so that no cohort is worse than another.")
    seed = derive_seed("cohorts", method, settings.config.seed)
    prepared = _PREPARE[method](method, table, settings, seed)
    errors_S, words_S = errors_S[prepared.takes_part_S], words_S[prepared.takes_part_S]
    if not errors_S.any():
        raise CannotSearch("Speakers that the method can place make no error.")
    candidate = prepared.search.find(errors_S, words_S)
    if candidate is None:
        raise CannotSearch(_NOTHING[method])
    permutations = settings.config.permutations
    evidence = weigh(prepared.search, candidate, errors_S, words_S, permutations, seed)
    rule = prepared.search.rule(candidate)
    return Definition(
        method=method,
        corpus=settings.identity(discovery),
        public=settings.public,
        speakers=int(prepared.takes_part_S.sum()),
        unknown=rule.assign(discovery).unknown(),
        cohorts=candidate.cohorts(),
        evidence=evidence,
        rule=rule,  # pyrefly: ignore
    )


def find_all(
    discovery: SpeakerTable,
    confirmation: SpeakerTable,
    errors: Mapping[str, ErrorRate],
    settings: Settings,
    out: Path,
    others: Sequence[SpeakerTable] = (),
) -> dict[str, str]:
    """Find cohorts by every method and write a directory for each below `out`.

    The definition is made from discovery speakers alone; then speakers of both halves get their
    cohorts from it.

    Speakers of the tables `others` get cohorts as well, without a half; those that are in one
    already are ignored.

    A method that finds nothing leaves no directory, and removes an older one. found.json has a
    sentence for each method.

    Raises:
        DataError: a speaker is in both halves; or a table of shares cannot be used.
    """
    check_halves(discovery, confirmation)
    sentences = {}
    for method in settings.methods:
        try:
            definition = find_cohorts(method, discovery, errors, settings)
        except CannotSearch as e:
            sentences[method] = f"nothing found: {e}"
            shutil.rmtree(out / method, ignore_errors=True)
        else:
            lines = assign_halves(definition, discovery, confirmation)
            lines += _assign_others(definition, others, {line["speaker"] for line in lines})
            write_cohorts(out / method, definition, lines)
            sentences[method] = sentence(definition)
        log.info("%s: %s", method, sentences[method])
    with atomic_write(out / FOUND_FILE) as f:
        json.dump({"corpus": settings.identity(discovery), "methods": sentences}, f, indent=1)
    return sentences


def assign_halves(
    definition: Definition, discovery: SpeakerTable, confirmation: SpeakerTable
) -> list[dict[str, Any]]:
    """Return the lines of cohorts.jsonl; warn of speakers whose cohort is unknown."""
    lines = []
    halves: tuple[tuple[SpeakerTable, Split], ...] = (
        (discovery, "discovery"),
        (confirmation, "confirmation"),
    )
    for table, split in halves:
        assignment = definition.assign(table)
        for reason, count in assignment.unknown().items():
            log.warning(
                "%s: cohort unknown of %d %s speakers: %s", definition.method, count, split, reason
            )
        lines += cohort_lines(definition, table.speakers, assignment, split)
    return lines


def _assign_others(
    definition: Definition, tables: Sequence[SpeakerTable], known: set[str]
) -> list[dict[str, Any]]:
    """Return the lines of speakers who are in no half."""
    lines = []
    for table in tables:
        new = table.select(np.array([s not in known for s in table.speakers], dtype=bool))
        if not len(new):
            continue
        known |= set(new.speakers)
        lines += cohort_lines(definition, new.speakers, definition.assign(new), None)
    return lines


def read_tried(path: Path) -> tuple[str, ...]:
    """Read from found.json which methods were tried, whatever came out of them.

    Raises:
        DataError: the file is missing or broken.
    """
    try:
        return tuple(json.loads(path.read_bytes())["methods"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: missing or broken", "run python -m asrlib cohorts find first"
        ) from None


def sentence(definition: Definition) -> str:
    """Say what a method found on discovery speakers."""
    bottom, top = definition.cohorts[0], definition.cohorts[-1]
    evidence = definition.evidence
    text = (
        f"bottom {100 * bottom.rate:.1f} % ({bottom.speakers} speakers), top "
        f"{100 * top.rate:.1f} % ({top.speakers}), as found on {definition.speakers} speakers"
    )
    if evidence.gap is not None:
        text += f"; found gap {100 * evidence.gap:+.0f} %"
    if evidence.null_gap_95 is not None:
        text += f", 95 % of permuted searches below {100 * evidence.null_gap_95:+.0f} %"
    if evidence.p_value is not None:
        text += f"; p = {evidence.p_value:.3f}"
    return text + "; not confirmed yet"


def _prepare_places(method: str, table: SpeakerTable, settings: Settings, seed: int) -> _Prepared:
    points_S2 = coordinates(table, settings.public)
    known_S = ~np.isnan(points_S2[:, 0])
    if np.count_nonzero(known_S) < 2:
        raise CannotSearch(
            "No two speakers have coordinates: data/speakers.tsv needs columns latitude and "
            "longitude, or United States zip codes in a column zip."
        )
    config, least = settings.config, settings.min_at_place
    if method == "tree":
        search: Search = TreeSearch(points_S2[known_S], config.tree, least, settings.public, seed)
    else:
        search = ScanSearch(points_S2[known_S], config.scan, least, settings.public, seed)
    return _Prepared(search, known_S)


def _prepare_zips(method: str, table: SpeakerTable, settings: Settings, seed: int) -> _Prepared:
    config = settings.config.geodemographic
    if config.table is None:
        raise CannotSearch("conf/cohorts.yaml names no table of shares (geodemographic.table).")
    path = settings.folder / config.table
    shares = read_attributes(path, config.zip_column, config.attributes)
    attributes = [attribute_of(value, shares)[0] for value in table.column("zip")]
    known_S = np.array([bool(a) for a in attributes])
    if not known_S.any():
        raise CannotSearch("No speaker has a zip code of the table of shares.")
    names = tuple(a for a in shares.names if a in set(attributes))
    group_S = np.array([names.index(a) for a in attributes if a])
    return _Prepared(
        AttributeSearch(
            group_S, names, shares, path, config, settings.min_at_place, settings.public
        ),
        known_S,
    )


def _prepare_clusters(method: str, table: SpeakerTable, settings: Settings, seed: int) -> _Prepared:
    if table.vectors_SD is None:
        raise CannotSearch("There are no embeddings: give a file of python -m asrlib embed.")
    takes_part_S = np.isfinite(table.vectors_SD).all(axis=1)
    measures: tuple[str, ...] = ()
    if method == "automatic_measured":
        numbers = {m: table.numbers(m) for m in settings.config.automatic.measures}
        measures = tuple(m for m, values in numbers.items() if np.isfinite(values).any())
        if not measures:
            raise CannotSearch("No column of measures has numbers.")
        for m in measures:
            takes_part_S &= np.isfinite(numbers[m])
    if np.count_nonzero(takes_part_S) < 4:
        raise CannotSearch("Fewer than four speakers have a usable embedding.")
    kept = table.select(takes_part_S)
    return _Prepared(ClusterSearch(kept, settings.config.automatic, measures, seed), takes_part_S)


def _prepare_metadata(method: str, table: SpeakerTable, settings: Settings, seed: int) -> _Prepared:
    excluded = settings.config.exclude_columns
    columns = [c for c in settings.columns if c in table.columns and c not in excluded]
    if not columns:
        raise CannotSearch("The speaker table has none of the columns of score.groups.")
    search = MetadataSearch(table, columns, settings.bands, settings.config.min_speakers)
    return _Prepared(search, np.ones(len(table), dtype=bool))


_PREPARE: dict[str, Callable[[str, SpeakerTable, Settings, int], _Prepared]] = {
    "tree": _prepare_places,
    "scan": _prepare_places,
    "geodemographic": _prepare_zips,
    "automatic": _prepare_clusters,
    "automatic_measured": _prepare_clusters,
    "metadata": _prepare_metadata,
}

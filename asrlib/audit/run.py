"""Audit a recogniser: score it, compare the groups that are given, find cohorts and confirm them.

Everything that is chosen (columns, bands, halves, sizes of cohorts, methods) is chosen before any
error is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asrlib import __version__
from asrlib.audit.given import given_groups
from asrlib.audit.inputs import Inputs
from asrlib.audit.normalisation import NORMALISATIONS
from asrlib.audit.record import COHORTS_DIR, Audit, Normalised
from asrlib.audit.search import search_cohorts
from asrlib.cohorts.cells import MapCells, map_cells
from asrlib.cohorts.config import METHODS, AutomaticConfig, CohortsConfig, GeodemographicConfig
from asrlib.cohorts.find import Settings, divide
from asrlib.cohorts.places import coordinates
from asrlib.cohorts.table import SpeakerTable
from asrlib.scoring.confirmation import CohortRate
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import speaker_interval
from asrlib.scoring.wer import ErrorRate, align, sum_by_speaker

_COHORT = 20  # discovery speakers of a cohort, where there are enough
_SHARES = (0.1, 0.33)  # of the speakers in an automatic cohort
_CLUSTERS = (2, 4, 8, 16, 32, 50)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to audit.

    Attributes:
        title, command: of the audit, for its page.
        normalisation: a key of `NORMALISATIONS`, which the inputs were read with.
        columns: the columns of the speaker table that are groups.
        bands: edges of columns with numbers.
        shares: a CSV file of shares by zip code; None: no geodemographic cohorts.
        measures: columns of the table that describe the audio.
        public: whether exact places may be shown.
        min_speakers: fewest discovery speakers of a cohort that is searched for; None: 20, or a
            tenth of the discovery speakers where that is fewer, but at least 5.
        permutations: of the speakers among groups, and a tenth of it of each search.
    """

    title: str
    command: str
    normalisation: str
    columns: tuple[str, ...] = ()
    bands: Mapping[str, tuple[float, ...]]
    shares: Path | None = None
    measures: tuple[str, ...] = ()
    public: bool = False
    min_speakers: int | None = None
    permutations: int = 2_000
    seed: int = 1


def run_audit(
    inputs: Inputs, table: SpeakerTable, notes: Sequence[str], options: Options, out: Path
) -> Audit:
    """Audit, and write the definitions of the cohorts that were found below `out`/cohorts.

    Args:
        table: the speakers of `inputs`, with the embeddings that were added.
        notes: sentences about the input, beside those of `inputs`.

    Raises:
        DataError: the table of shares cannot be used.
    """
    aligned = align(inputs.utterances)
    errors = sum_by_speaker(aligned)
    resampling = Resampling(seed=options.seed, permutations=options.permutations)
    given = given_groups(table, errors, options.columns, options.bands, resampling)
    discovery, confirmation = divide(table, options.bands, options.columns)
    settings = _settings(options, len(discovery))
    searched = search_cohorts(
        discovery, confirmation, aligned, errors, settings, resampling, out / COHORTS_DIR
    )
    interval = speaker_interval(errors, resampling.confidence)
    audit = Audit(
        version=__version__,
        title=options.title,
        command=options.command,
        finding="",
        unit="clip" if inputs.by_clip else "speaker",
        units=len(table),
        utterances=len(aligned),
        wrong_utterances=sum(1 for a in aligned if a.words.errors),
        wer=ErrorRate.sum(a.words for a in aligned),
        cer=ErrorRate.sum(a.chars for a in aligned),
        interval=interval and interval.percent(),
        normalised=Normalised(
            name=options.normalisation,
            does=NORMALISATIONS[options.normalisation].does,
            references=inputs.changed_refs,
            hypotheses=inputs.changed_hyps,
        ),
        notes=(*inputs.notes, *notes),
        given=given,
        searched=searched,
        discovery=len(discovery),
        confirmation=len(confirmation),
        min_speakers=settings.config.min_speakers,
        share=settings.config.automatic.bottom_share,
        public=options.public,
        confidence=resampling.confidence,
        permutations=options.permutations,
        seed=options.seed,
        cells=_cells(table, errors, options.public),
    )
    return replace(audit, finding=finding_of(audit))


def _cells(table: SpeakerTable, errors: Mapping[str, ErrorRate], public: bool) -> MapCells | None:
    """Error rates by place; None where nobody's place is known."""
    points_S2 = coordinates(table, public)
    if np.isnan(points_S2).all():
        return None
    errors_S, words_S = (
        np.array([getattr(errors[s], key) for s in table.speakers], dtype=np.float64)
        for key in ("errors", "words")
    )
    said_S = words_S > 0
    return map_cells(points_S2[said_S], errors_S[said_S], words_S[said_S], public)


def _settings(options: Options, discovery: int) -> Settings:
    """Sizes of cohorts that this number of discovery speakers can carry."""
    share = float(np.clip(_COHORT / max(discovery, 1), *_SHARES))
    config = CohortsConfig(
        min_speakers=options.min_speakers or min(_COHORT, max(5, discovery // 10)),
        permutations=max(options.permutations // 10, 1),
        seed=options.seed,
        covariates=tuple(dict.fromkeys(("snr_db", "rate_wpm", "age", *options.measures))),
        geodemographic=GeodemographicConfig(
            table=str(options.shares.resolve()) if options.shares else None
        ),
        automatic=AutomaticConfig(
            clusters=_CLUSTERS, bottom_share=share, top_share=share, measures=options.measures
        ),
    )
    return Settings(
        config=config,
        methods=METHODS,
        columns=options.columns,
        bands=options.bands,
        public=options.public,
        title=options.title,
    )


def finding_of(audit: Audit) -> str:
    """Say in one sentence what was confirmed, or what could have been."""
    judged = [s.confirmation for s in audit.searched if s.confirmation is not None]
    confirmed = [c for c in judged if c.is_confirmed and c.bottom and c.rest]
    if confirmed:
        worst = max(confirmed, key=lambda c: c.bottom.percent if c.bottom else 0.0)
        assert worst.bottom is not None
        assert worst.rest is not None
        name = next(s.bottom for s in audit.searched if s.confirmation is worst)
        return (
            f"Worst confirmed cohort: {name}: {_rate(worst.bottom)} against {_rate(worst.rest)} "
            f"for all others, {worst.bottom.share:.0f} % of the {audit.unit}s; found on "
            f"{worst.discovery_speakers}, confirmed on {worst.confirmation_speakers}."
        )
    return f"No cohort was confirmed{_power(audit)}."


def _rate(rate: CohortRate) -> str:
    ends = f" [{rate.interval.low:.1f}, {rate.interval.high:.1f}]" if rate.interval else ""
    return f"{rate.percent:.1f} %{ends}"


def _power(audit: Audit) -> str:
    """What the confirmation speakers would have shown."""
    if not audit.wer.errors:
        return ": the recogniser makes no error at all on these utterances"
    judged = [s.confirmation for s in audit.searched if s.confirmation is not None]
    smallest = [c.detectable_gap for c in judged if c.detectable_gap is not None]
    if not smallest:
        return ": no method found a cohort that could be judged"
    return (
        f"; these {audit.confirmation} confirmation {audit.unit}s would show a gap of "
        f"{min(smallest):.0f} % or more in four of five audits"
    )

"""Everything in exp/ that the page says about cohorts of speakers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from asrlib.cohort_file import CohortMap, Split, read_cohort_map
from asrlib.cohorts.config import CohortsConfig
from asrlib.cohorts.confirm import CONFIRMATION_FILE, ConfirmedMethod
from asrlib.cohorts.definition import DEFINITION_FILE, Definition, read_definition
from asrlib.cohorts.explain import EXPLANATION_FILE, Explanation
from asrlib.cohorts.find import FOUND_FILE
from asrlib.cohorts.geodemographic import AttributeRule
from asrlib.cohorts.places import hidden
from asrlib.cohorts.scan import CircleRule
from asrlib.cohorts.table import SpeakerTable, read_table
from asrlib.cohorts.tree import TreeRule
from asrlib.errors import DataError
from asrlib.experiments.publish import PublishConfig
from asrlib.experiments.store import Skipped
from asrlib.mitigation.table import FAIRNESS_DIR, MITIGATIONS_FILE, Mitigations
from asrlib.recipe import Recipe
from asrlib.scoring.cohort_frame import CohortScores, cohort_scores_file
from asrlib.scoring.confirmation import Confirmation
from asrlib.scoring.records import DecodeMeta
from asrlib.scoring.speaker_sums import SpeakerSums
from asrlib.scoring.utt_counts import COUNTS_FILE, read_counts, sum_counts

COHORTS_DIR = "cohorts"  # of exp/
_AGAIN = "run stage 9 again"


@dataclass(frozen=True)
class Method:
    """What a method of discovery left in exp/cohorts/METHOD/.

    Attributes:
        name: of the method.
        definition, members: how it assigns speakers, and whom it assigned to what.
        record: how it was judged; None before that.
        explanation: what its bottom cohort shares; None if nobody asked.
        sums: errors of the speakers of either half; empty without a record.
    """

    name: str
    definition: Definition
    members: CohortMap
    record: ConfirmedMethod | None
    explanation: Explanation | None
    sums: Mapping[str, SpeakerSums]

    @property
    def judged(self) -> Confirmation | None:
        return None if self.record is None else self.record.judged

    @property
    def is_of_places(self) -> bool:
        """Whether its cohorts are made of the places where speakers live."""
        return isinstance(self.definition.rule, TreeRule | CircleRule | AttributeRule)

    def hides(self, speakers: int, public: bool) -> bool:
        """Whether a cohort of so many speakers must not be shown."""
        return self.is_of_places and hidden(speakers, public)

    def parts(self, split: Split) -> dict[str, SpeakerSums]:
        """The sums of each cohort that has words in a half; speakers without a cohort are out."""
        sums = self.sums[split]
        names = sorted(
            {self.members.cohorts[s] for s in sums.speakers if s in self.members.cohorts}
        )
        parts = {
            n: sums.take(s for s in sums.speakers if self.members.cohorts.get(s) == n)
            for n in names
        }
        return {name: part for name, part in parts.items() if part.words > 0}


@dataclass(frozen=True)
class Fairness:
    """What is known about the cohorts of a recipe.

    Attributes:
        recipe: the recipe.
        public: whether exact places and small groups may be shown.
        tried: by method that was tried, what it found, in a sentence.
        methods: those that found cohorts.
        mitigations: before and after, for each set of cohorts.
        scores: by directory below exp/ of a decoded set, its scores by the cohorts of each method.
        skipped: files that cannot be used.
    """

    recipe: Recipe
    public: bool
    tried: dict[str, str]
    methods: tuple[Method, ...]
    mitigations: tuple[Mitigations, ...]
    scores: dict[str, list[CohortScores]]
    skipped: tuple[Skipped, ...]

    @property
    def judged(self) -> list[Method]:
        """The methods whose cohorts were judged on confirmation speakers."""
        return [m for m in self.methods if m.record is not None]

    @property
    def halves(self) -> set[str]:
        """The sets on whose speakers cohorts were found and judged."""
        records = [m.record for m in self.judged if m.record is not None]
        return {meta.set for r in records for meta in (r.discovery, r.confirmation)}

    @property
    def own_sets(self) -> set[str]:
        """Sets that only serve to find and to judge cohorts; a test set that was halved is none."""
        records = [m.record for m in self.judged if m.record is not None]
        pairs = [(r.discovery.set, r.confirmation.set) for r in records]
        return {name for pair in pairs if len(set(pair)) == 2 for name in pair}

    def hides(self, found: Mitigations) -> bool:
        """Whether a table of mitigations tells of too few speakers to be shown."""
        method = next((m for m in self.methods if m.name == found.method), None)
        speakers = found.rows[0].rates.bottom.speakers
        if method is None:  # its definition is gone, and may have been one of places
            return hidden(speakers, self.public)
        return method.hides(speakers, self.public)

    @property
    def config(self) -> CohortsConfig:
        return self.recipe.config(CohortsConfig, "cohorts")

    @cached_property
    def speakers(self) -> SpeakerTable | None:
        """The speakers of both halves; None without a table."""
        try:
            table = read_table(self.recipe.data / "speakers.tsv", sorted(self.halves))
        except DataError:
            return None
        return table if len(table) else None


def collect_fairness(recipe: Recipe) -> Fairness:
    """Read what stages 9 to 11 left; what cannot be read is listed, and never raises."""
    exp = recipe.exp
    skipped: list[Skipped] = []
    methods: list[Method] = []
    for folder in sorted(p.parent for p in (exp / COHORTS_DIR).glob(f"[!.]*/{DEFINITION_FILE}")):
        try:
            methods.append(_method(exp, folder))
        except DataError as e:
            skipped.append(Skipped(f"exp/{COHORTS_DIR}/{folder.name}", e.what))
    mitigations: list[Mitigations] = []
    for path in sorted((exp / FAIRNESS_DIR).glob(f"**/{MITIGATIONS_FILE}")):
        try:
            mitigations.append(Mitigations.from_file(path, "run stage 11 again"))
        except DataError as e:
            skipped.append(Skipped(path.relative_to(recipe.dir).as_posix(), e.what))
    scores: dict[str, list[CohortScores]] = {}
    for path in sorted(exp.glob(f"*/decode_*/{cohort_scores_file('*')}")):
        try:
            found = CohortScores.from_file(path, "run stage 11 again")
            scores.setdefault(path.parent.relative_to(exp).as_posix(), []).append(found)
        except DataError as e:
            skipped.append(Skipped(path.relative_to(recipe.dir).as_posix(), e.what))
    return Fairness(
        recipe=recipe,
        public=recipe.config(PublishConfig, "publish").public,
        tried=_tried(exp / COHORTS_DIR / FOUND_FILE),
        methods=tuple(methods),
        mitigations=tuple(mitigations),
        scores=scores,
        skipped=tuple(skipped),
    )


def _tried(path: Path) -> dict[str, str]:
    try:
        return {str(k): str(v) for k, v in json.loads(path.read_bytes())["methods"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _method(exp: Path, folder: Path) -> Method:
    record, explanation = folder / CONFIRMATION_FILE, folder / EXPLANATION_FILE
    method = Method(
        name=folder.name,
        definition=read_definition(folder),
        members=read_cohort_map(folder),
        record=ConfirmedMethod.from_file(record, _AGAIN) if record.exists() else None,
        explanation=Explanation.from_file(explanation, _AGAIN) if explanation.exists() else None,
        sums={},
    )
    if method.record is None:
        return method
    halves = {"discovery": method.record.discovery, "confirmation": method.record.confirmation}
    sums = {half: _sums(exp, meta, method.members, half) for half, meta in halves.items()}
    method = replace(method, sums=sums)
    _check(method)
    return method


def _sums(exp: Path, meta: DecodeMeta, members: CohortMap, half: str) -> SpeakerSums:
    path = exp / meta.model / f"decode_{meta.set}_{meta.search}" / COUNTS_FILE
    errors = sum_counts(read_counts(path))
    return SpeakerSums.of({s: e for s, e in errors.items() if members.splits.get(s) == half})


def _check(method: Method) -> None:
    """Check that the decode is still the one that was judged, so that all figures agree.

    Raises:
        DataError: it is another one.
    """
    judged = method.judged
    bottom = method.parts("confirmation").get("bottom")
    known = (bottom.errors, bottom.words) if bottom is not None else None
    told = judged and judged.bottom and (judged.bottom.errors, judged.bottom.words)
    if known != told:
        raise DataError(
            f"{CONFIRMATION_FILE} is of another decode than the one that lies in exp/", _AGAIN
        )

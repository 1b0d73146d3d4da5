"""exp/fairness/mitigations.json: the table of mitigations before and after, for one set of cohorts.

All rows were decoded on the same confirmation speakers. Counts of the seeds of a row are added, so
that its rates are means over its seeds; intervals are over speakers, and every seed is printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asrlib.json_record import JsonRecord
from asrlib.scoring.cohort_frame import Estimate
from asrlib.scoring.confirmation import CohortRate
from asrlib.scoring.gaps import Comparison, Contrast, GapChange, Resampling
from asrlib.scoring.speaker_sums import Interval

FAIRNESS_DIR = "fairness"  # of exp/
MITIGATIONS_FILE = "mitigations.json"

RowKind = Literal["control", "adapt", "train"]


@dataclass(frozen=True)
class SeedRates(JsonRecord):
    """The word error rates of one training.

    Attributes:
        seed: of its random draws; of an interpolated model, that of the fine-tuned one.
        run: its directory under exp/.
        bottom, rest, overall: WER in per cent.
    """

    seed: int
    run: str
    bottom: float
    rest: float
    overall: float


@dataclass(frozen=True)
class Rates(JsonRecord):
    """Word error rates of a row, over all its seeds.

    Attributes:
        bottom, top: of these cohorts; top is None if no speaker is in it.
        rest: of everybody but the bottom cohort.
        overall: of all speakers.
        gap: bottom against top; None without a top cohort.
    """

    bottom: CohortRate
    rest: CohortRate
    overall: CohortRate
    top: CohortRate | None
    gap: Contrast | None


@dataclass(frozen=True)
class Changes(JsonRecord):
    """Paired changes of a row against another one; below 0 the row is better.

    Attributes:
        against: label of the other row.
        bottom, rest, overall: changes of the rates, with intervals over speakers.
        rest_relative: interval of the rest's change, in per cent of the other row's rate; None
            without an interval, or if the other row makes no error there.
        gap: change of the gap between bottom and top; None without a top cohort.
    """

    against: str
    bottom: Comparison
    rest: Comparison
    overall: Comparison
    rest_relative: Interval | None
    gap: GapChange | None


@dataclass(frozen=True)
class RegionalRates(JsonRecord):
    """Word error rates over regions: the cohorts of the geographic tree, or a column.

    Attributes:
        by: how the regions were made, such as `tree` or `region`.
        regions: number of regions with at least two speakers and an error.
        mean, highest: of their rates, in per cent; the mean counts every region alike.
        worst: name of the region with the highest rate.
        raw_variance: variance of the rates, in squared per cent; sampling noise inflates it.
        tau2: estimated variance of the true rates, in squared per cent.
    """

    by: str
    regions: int
    mean: float
    highest: float
    worst: str
    raw_variance: float
    tau2: float


@dataclass(frozen=True)
class ByCohort(JsonRecord):
    """A measure that is not an error rate, such as a delay, of bottom, rest and all speakers."""

    bottom: Estimate
    rest: Estimate
    overall: Estimate


@dataclass(frozen=True)
class Verdict(JsonRecord):
    """Whether a method succeeds, by the rule of `asrlib.mitigation.judging`.

    Attributes:
        success: yes or no.
        reason: a sentence for people.
        bottom_better: the bottom cohort is better than with the general-data control, its interval
            below 0.
        rest_kept: the upper end of the rest's change against the control is below +5 % relative.
        beaten_by: share of the interpolated model whose two rates are both lower, their intervals
            below 0; None if no model of the curve is.
    """

    success: bool
    reason: str
    bottom_better: bool
    rest_kept: bool
    beaten_by: float | None


@dataclass(frozen=True, kw_only=True)
class MitigationRow(JsonRecord):
    """A row of the table.

    Attributes:
        label: its name in the plan; with `, true cohorts` if the model was told the
            speakers' cohorts, with `, found cohorts` if it was told what each utterance's voice
            tells of them.
        kind: `control`, `adapt` (the cohort's speech alone changes a trained model) or `train`
            (training with the cohorts known).
        model: of conf/model.
        start: directory under exp/ of the model it continues from; None for a start.
        membership: what the model was told of cohorts at test; None for nothing.
        settings: what the row sets, by key of the configuration.
        updates: number of updates after the start.
        seeds: a line for each training.
        rates: over all seeds.
        against_control: against the same updates on general data; None for that row and the start.
        against_start: None for the start.
        regional: None with fewer than two regions.
        measures: by name (`cohort_frame.MEASURES`): symbol delay, finalisation, encoder work.
        verdict: None for controls.
    """

    label: str
    kind: RowKind
    model: str
    start: str | None
    membership: str | None
    settings: dict[str, Any]
    updates: int
    seeds: tuple[SeedRates, ...]
    rates: Rates
    against_control: Changes | None
    against_start: Changes | None
    regional: RegionalRates | None
    measures: dict[str, ByCohort]
    verdict: Verdict | None


@dataclass(frozen=True)
class CurvePoint(JsonRecord):
    """A model between the start (share 0) and the fine-tuned model (share 1).

    Attributes:
        share: number from 0 to 1.
        seeds: a line for each seed of the fine-tuned model.
        rates: over all seeds.
    """

    share: float
    seeds: tuple[SeedRates, ...]
    rates: Rates


@dataclass(frozen=True, kw_only=True)
class Mitigations(JsonRecord):
    """mitigations.json.

    Attributes:
        version: version of the program that computed it.
        plan, title: of conf/plans.
        method: how the cohorts were found.
        cohorts: directory of the cohorts, relative to the recipe.
        test_set, search: what was decoded.
        start, control: labels of the rows that the others are compared with; control is None if
            the plan has no row on general data.
        rows: the start first.
        curve: by share, the ends included; empty without interpolated models.
        resampling: settings of intervals and draws.
        notes: sentences on what could not be computed.
        commands: what repeats the table: the plan's command, then the one that judges.
    """

    version: str
    plan: str
    title: str
    method: str
    cohorts: str
    test_set: str
    search: str
    start: str
    control: str | None
    rows: tuple[MitigationRow, ...]
    curve: tuple[CurvePoint, ...]
    resampling: Resampling
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Title of the plan and kind of cohorts, since a recipe has a table for each kind."""
        return f"{self.title or self.plan} ({Path(self.cohorts).name} cohorts)"

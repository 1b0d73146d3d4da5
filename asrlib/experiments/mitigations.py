"""Collect what the runs of a plan of mitigations were scored with, and judge them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asrlib import __version__
from asrlib.cohort_file import COHORTS_FILE, CohortMap, read_cohort_map
from asrlib.errors import ConfigError, DataError
from asrlib.experiments.failures import read_failures
from asrlib.experiments.plan import Plan, PlannedRun, Variant
from asrlib.experiments.plan_state import PlanState
from asrlib.experiments.run_record import RunRecord, read_record, start_of
from asrlib.mitigation.judging import Judge, Judged, RunCounts
from asrlib.mitigation.table import Mitigations
from asrlib.recipe import Recipe
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.groups import UNKNOWN
from asrlib.scoring.records import DecodeMeta, Told, decode_dir_name, read_speakers
from asrlib.scoring.utt_counts import COUNTS_FILE, UtteranceCounts, read_counts

log = logging.getLogger(__name__)

_SEED = "train.seed"
_REGION = "region"  # column of data/speakers.tsv
_TREE = "tree"
_SPEECH, _GENERAL = "mitigation.adaptation.speech", "general"


@dataclass(frozen=True)
class Collector:
    """Reads the decodes of the runs of a plan.

    Attributes:
        recipe: the recipe.
        plan: the plan, with its start.
        cohorts: the cohorts of the confirmation speakers.
        cohorts_file: where they stand, for messages.
        test_set, search: which decode is judged.
    """

    recipe: Recipe
    plan: Plan
    cohorts: CohortMap
    cohorts_file: Path
    test_set: str
    search: str

    def counts(
        self, name: str, record: RunRecord, membership: Told | None = None
    ) -> list[UtteranceCounts]:
        """Read the counts of the confirmation speakers.

        Raises:
            DataError: the set was not decoded and scored, or with another training; or the cohorts
                name none of its speakers as a confirmation speaker.
        """
        folder = self.recipe.exp / name / decode_dir_name(self.test_set, self.search, membership)
        meta = DecodeMeta.from_file(folder / "meta.json", "run stage 10 again")
        if meta.run is not None and meta.run != record.identity:
            raise DataError(f"{folder}: was decoded with another training", "run stage 10 again")
        splits = self.cohorts.splits
        rows = [
            row
            for row in read_counts(folder / COUNTS_FILE)
            if splits.get(row.speaker) == "confirmation"
        ]
        if not rows:
            raise DataError(
                f"{self.cohorts_file}: names no confirmation speaker of {folder}: the cohorts are "
                "of another corpus",
                "find them again: python -m asrlib cohorts find",
            )
        return rows

    def start(self, name: str, label: str) -> Judged:
        """Return the row of the start, or of another finished model that is a control."""
        record = read_record(self.recipe.exp / name)
        runs = (RunCounts(record.seed, name, self.counts(name, record)),)
        return Judged(label, "control", record.model, None, None, {}, 0, runs)

    def rows(self, start: str, notes: list[str]) -> list[Judged]:
        """Return the rows of the plan; one that cannot be judged becomes a note."""
        by_row: dict[str, list[PlannedRun]] = {}
        for run in self.plan.runs({}):
            by_row.setdefault(run.row, []).append(run)
        failed = read_failures(self.recipe.exp / "plans" / self.plan.name)
        found = []
        for row in self.plan.config.rows():
            runs = by_row[row.name]
            for told in (None, *row.told):
                try:
                    found.append(self._row(row, runs, start, told))
                except DataError as e:
                    reasons = [failed[run.name] for run in runs if run.name in failed]
                    why = f"failed in stage 10: {'; '.join(reasons)}" if reasons else e.what
                    notes.append(f"{_label(row, told)}: not judged: {why}.")
                    log.warning("%s: not judged: %s", _label(row, told), why)
        return found

    def _row(
        self, row: Variant, runs: Sequence[PlannedRun], start: str, told: Told | None
    ) -> Judged:
        counts, updates = [], 0
        for run in runs:
            record = self._adapted(run.name, start)
            updates = int(record.config["train"]["max_steps"])
            rows = self.counts(run.name, record, told)
            counts.append(RunCounts(record.seed, run.name, rows))
        settings = {k: v for k, v in runs[0].factors.items() if k != _SEED}
        label = _label(row, told)
        kind = row.kind or "adapt"
        return Judged(label, kind, row.model, start, told, settings, updates, tuple(counts))

    def _adapted(self, name: str, start: str) -> RunRecord:
        """Read the record of a run that continues from the start.

        Raises:
            DataError: it is missing, or the run started from another model.
        """
        record = read_record(self.recipe.exp / name)
        if record.start != start_of(self.recipe.exp / start / "final.pt"):
            raise DataError(
                f"exp/{name}: did not start from the present exp/{start}",
                "run stage 10 again with --force",
            )
        return record

    def curve(self, start: Judged, rows: Iterable[Judged]) -> dict[float, Judged]:
        """Return the models between the start and a row, by share; both ends included."""
        ends = {row.label: row for row in rows}
        for variant in self.plan.config.rows():
            end = ends.get(variant.name)
            if not variant.shares or end is None:
                continue
            points = {0.0: start, 1.0: end}
            for share in variant.shares:
                runs = []
                for run in end.runs:
                    name = f"{run.run}-share{share:g}"
                    counts = self.counts(name, read_record(self.recipe.exp / name))
                    runs.append(RunCounts(run.seed, name, counts))
                label = f"interpolated {share:g}"
                points[share] = Judged(
                    label, "control", end.model, end.start, None, {}, end.updates, tuple(runs)
                )
            return points
        return {}


def judge_plan(
    recipe: Recipe,
    plan: Plan,
    name: str,
    cohorts: str,
    resampling: Resampling,
    beside: Sequence[str] = (),
) -> Mitigations:
    """Judge the mitigations of a plan on confirmation speakers.

    Args:
        recipe: without overrides, as for `PlanRunner`.
        plan: the plan, with its start.
        name: of the plan's file.
        cohorts: directory under exp/cohorts/.
        resampling: settings of intervals.
        beside: further finished models under exp/, such as another seed of the start.

    Raises:
        ConfigError: the plan has no start, or no mitigations.
        DataError: the start, or all rows, cannot be judged; or the cohorts are those of another
            corpus.
    """
    state = PlanState(recipe, plan)
    start_run = plan.starting_run()
    if start_run is None or not plan.config.mitigates:
        raise ConfigError(
            f"plan {name}: has no start or no row with a kind", "choose a plan of mitigations"
        )
    directory = recipe.exp / "cohorts" / cohorts
    start = (state.trained(start_run) or recipe.exp / start_run.name).name
    collector = Collector(
        recipe,
        plan,
        read_cohort_map(directory),
        directory / COHORTS_FILE,
        state.test_sets()[0],
        plan.config.searches[0],
    )
    notes: list[str] = []
    first = collector.start(start, "start")
    rows = [
        first,
        *(collector.start(other, other) for other in beside),
        *collector.rows(start, notes),
    ]
    control = _general_control(plan)
    labels = [row.label for row in rows]
    if control not in labels:
        notes.append("No row is adapted to general data, so no method is judged against it.")
        control = None
    regions, regions_by = _regions(recipe, collector.test_set)
    judge = Judge(collector.cohorts.cohorts, regions, regions_by, resampling)
    judge.check(rows)
    curve = _curve(collector, judge, first, rows, notes)
    return Mitigations(
        version=__version__,
        plan=name,
        title=plan.config.title,
        method=collector.cohorts.method,
        cohorts=f"exp/cohorts/{cohorts}",
        test_set=collector.test_set,
        search=collector.search,
        start=first.label,
        control=control,
        rows=judge.table(rows, control, curve),
        curve=judge.curve(curve),
        resampling=resampling,
        notes=tuple(notes),
    )


def _general_control(plan: Plan) -> str | None:
    """The control on general data; controls on repeated speech of other speakers are others."""
    rows = (r for r in plan.config.rows() if r.kind == "control")
    return next((r.name for r in rows if r.set.get(_SPEECH, _GENERAL) == _GENERAL), None)


def _curve(
    collector: Collector, judge: Judge, start: Judged, rows: Sequence[Judged], notes: list[str]
) -> dict[float, Judged]:
    """The models on the way to a row; a note says why there are none if they cannot be judged."""
    try:
        curve = collector.curve(start, rows)
        if curve:
            judge.check([start, *curve.values()])
    except DataError as e:
        notes.append(f"The interpolation between the start and a row is not judged: {e.what}.")
        log.warning("interpolation: not judged: %s", e.what)
        return {}
    return curve


def _label(row: Variant, told: Told | None) -> str:
    return f"{row.name}, {told} cohorts" if told else row.name


def _regions(recipe: Recipe, test_set: str) -> tuple[Mapping[str, str], str]:
    """Return the region of each speaker: of the geographic tree, else of the speaker table."""
    if (recipe.exp / "cohorts" / _TREE).is_dir():
        tree = read_cohort_map(recipe.exp / "cohorts" / _TREE)
        return {s: c for s, c in tree.cohorts.items() if c != UNKNOWN}, _TREE
    table = read_speakers(recipe.data / "speakers.tsv", test_set)
    return {s: row[_REGION] for s, row in table.items() if row.get(_REGION)}, _REGION


def sentences(found: Mitigations) -> list[str]:
    """Say for each row what came out, for people."""
    lines = []
    for row in found.rows:
        rates = row.rates
        told = ""
        if row.verdict is not None:
            told = "; success: " if row.verdict.success else "; no success: "
            told += row.verdict.reason
        lines.append(
            f"{row.label}: bottom {rates.bottom.percent:.2f} %, rest {rates.rest.percent:.2f} %, "
            f"all {rates.overall.percent:.2f} %{told}"
        )
    return lines

"""How far a plan is: what the store holds, what lies finished in exp/, what is missing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asrlib.cohort_file import BY_UTTERANCE
from asrlib.errors import ConfigError, DataError
from asrlib.experiments.factors import value_of
from asrlib.experiments.plan import Plan, PlannedRun
from asrlib.experiments.publish import collect_run
from asrlib.experiments.run_record import (
    data_names,
    hash_data,
    identity_in,
    identity_of,
    start_of,
)
from asrlib.experiments.run_scores import PublishedRun
from asrlib.experiments.same_training import same_training
from asrlib.experiments.store import Trials, Tuning, read_plan
from asrlib.experiments.training_log import read_curves
from asrlib.recipe import Recipe
from asrlib.scoring.records import Told, decode_dir_name
from asrlib.scoring.score import SCORES_FILE
from asrlib.training.build import Configs, load_configs


@dataclass
class PlanState:
    """A plan beside what is there of it; read anew whenever it is asked.

    Attributes:
        recipe: without overrides; those of the runs stand in the plan.
    """

    recipe: Recipe
    plan: Plan
    _configs: dict[tuple[str, tuple[str, ...]], Configs] = field(default_factory=dict)
    _hashes: dict[tuple[Path, ...], dict[str, str]] = field(default_factory=dict)

    def configs(self, run: PlannedRun) -> Configs:
        """The configuration of a run.

        Raises:
            ConfigError: a key or value is not valid, or no training reads a factor; names the run.
        """
        key = (run.model, run.overrides)
        if key not in self._configs:
            # The device is this machine's matter, and may not be there.
            overrides = (*run.overrides, "train.device=cpu")
            try:
                configs = load_configs(Recipe(self.recipe.dir, overrides), run.model)
                for factor in run.factors:
                    value_of(configs.sections(), factor)
            except ConfigError as e:
                raise ConfigError(f"run {run.name}: {e.what}", e.fix) from e
            self._configs[key] = configs
        return self._configs[key]

    def missing_data(self, run: PlannedRun) -> Path | None:
        """A file that the training reads and that is not there."""
        files = self.configs(run).input_files(self.recipe.data)
        return next((path for path in files if not path.exists()), None)

    @functools.cached_property
    def has_data(self) -> bool:
        """Whether all that the first run reads is there."""
        return self.missing_data(self.plan.runs({})[0]) is None

    def identity(self, run: PlannedRun, known_start: str | None = None) -> str:
        """What the run's record will have as identity.

        Args:
            known_start: what a record says of the model file that the run's row names, which
                counts where the file is not here.

        Raises:
            DataError: data that it reads are missing or broken.
        """
        if run.given:
            return start_of(self.recipe.exp / run.name / "final.pt") or ""
        configs = self.configs(run)
        files = configs.input_files(self.recipe.data)
        if files not in self._hashes:
            self._hashes[files] = hash_data(self.recipe.data, files)
        start = (
            self._given_start(run, known_start) if run.start is None else self.identity(run.start)
        )
        return identity_of(configs.sections(), self._hashes[files], start)

    def _given_start(self, run: PlannedRun, known: str | None) -> str | None:
        """What the record will say of the model that a run's row names; None if it names none."""
        path = self.recipe.dir / run.init
        if not run.init:
            return None
        return start_of(path) if path.is_file() else known

    def _matches(self, run: PlannedRun, held: PublishedRun) -> bool:
        """Whether what is published is this run; without data here, if its data are the same.

        A model under another name may be the same training, but is another row.
        """
        if held.record.model != run.model:
            return False
        if self.has_data:
            return held.record.identity == self.identity(run, held.record.start)
        return held.record.identity == self._borrowed(run, held.record.data, held.record.start)

    def _borrowed(
        self, run: PlannedRun, data: Mapping[str, str], known_start: str | None = None
    ) -> str:
        """The identity that a run would have with these hashes of data."""
        configs, start = self.configs(run), self._given_start(run, known_start)
        if run.start is not None:
            data_dir = self.recipe.data
            more, fewer = (
                set(data_names(data_dir, self.configs(r).input_files(data_dir)).values())
                for r in (run, run.start)
            )
            own = more - fewer
            start = self._borrowed(run.start, {k: v for k, v in data.items() if k not in own})
        return identity_of(configs.sections(), data, start)

    def test_sets(self) -> tuple[str, ...]:
        """Sets to decode; none where that depends on data that are not there."""
        if self.plan.config.test_sets:
            return self.plan.config.test_sets
        if self.plan.config.stages == "mixtures":
            return ("mix_test",)
        return tuple(sorted(p.parent.name for p in self.recipe.data.glob("test*/cuts.jsonl.gz")))

    def told_cohorts(self, run: PlannedRun, told: Told) -> Path:
        """The directory of cohorts that a run's models are told.

        Raises:
            ConfigError: the model takes none.
        """
        directory = self.configs(run).sections().get("membership", {}).get("cohorts")
        if directory is None:
            raise ConfigError(
                f"run {run.name}: {told}_cohorts, but the model takes no memberships",
                f"set model.encoder.condition=2 in the row, or remove {told}_cohorts",
            )
        found = self.recipe.dir / str(directory)
        return found / BY_UTTERANCE if told == "found" else found

    def told(self, run: PlannedRun) -> dict[Told, Path]:
        """The directories of the cohorts that a run's models are told, by the way of telling.

        Cohorts that are found by utterance are left out where no method found any.
        """
        ways = {told: self.told_cohorts(run, told) for told in self.plan.row(run.row).told}
        return {told: d for told, d in ways.items() if told != "found" or d.exists()}

    def start_name(self, run: PlannedRun) -> str:
        """The directory under exp/ of the model that a run starts from."""
        if run.start is None:
            raise ConfigError(
                f"run {run.name}: shares, but it starts from no model", "name a start in the plan"
            )
        directory = self.trained(run.start)
        return run.start.name if directory is None else directory.name

    def _between(self, run: PlannedRun) -> bool:
        """Whether the models between the start and a run are scored."""
        folders = [
            self.recipe.exp / name / decode_dir_name(test_set, search)
            for name in self.plan.between(run)
            for test_set in self.test_sets()
            for search in self.plan.config.searches
        ]
        return all((folder / SCORES_FILE).exists() for folder in folders)

    def _complete(self, held: PublishedRun, run: PlannedRun) -> bool:
        """Whether all is scored that the plan wants decoded of a run."""
        if self.plan.config.stages == "voices":
            judged = {found.set for found in held.voices}
            return bool(judged) and judged >= set(self.test_sets())
        mixtures = self.plan.config.stages == "mixtures"
        scored = {(s.meta.set, s.meta.way) for s in (held.mixtures if mixtures else held.sets)}
        config = self.plan.config
        sets = self.test_sets() or {name for name, _ in scored}
        told = ("", *(f", {way} cohorts" for way in self.told(run)))
        wanted = {(name, way + more) for name in sets for way in config.searches for more in told}
        if config.decoding:
            wanted |= {(name, config.decoding.way) for name in sets}
        return bool(scored) and scored >= wanted

    def published(self, run: PlannedRun) -> PublishedRun | None:
        """What the store holds of a run, with all its scores."""
        held = read_plan(self.recipe.dir, self.plan.name).runs
        return next((h for h in held if self._complete(h, run) and self._matches(run, h)), None)

    def scored(self, run: PlannedRun) -> bool:
        """Whether exp/ holds the run with all its scores."""
        try:
            held, _ = collect_run(self.recipe, run.name)
        except DataError:
            return False
        return self._complete(held, run) and self._matches(run, held) and self._between(run)

    def trained(self, run: PlannedRun) -> Path | None:
        """The directory under exp/ that holds the finished training, under whatever name."""
        own = self.recipe.exp / run.name
        if run.given:
            return own
        wanted = self.identity(run)
        if (own / "final.pt").exists() and identity_in(own) == wanted:
            return own
        return same_training(self.recipe.exp, run.name, wanted)

    def chosen(self) -> dict[str, Any]:
        """The tuned value by row, where it was chosen."""
        tune = self.plan.config.tune
        if tune is None:
            return {}
        folder = read_plan(self.recipe.dir, self.plan.name)
        tuning = folder.tuning if self.plan.published else None
        if tuning is None or (tuning.key, tuning.judged_by) != (tune.key, tune.by):
            return self._choice({})
        same = tuning.budget == self.budget()
        return self._choice(tuning.models if same else {})

    def _choice(self, known: Mapping[str, Trials]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        values = {str(value): value for value in getattr(self.plan.config.tune, "values", ())}
        for row in self.plan.config.rows():
            held = known.get(row.name)
            trial = self.plan.trial_of(row.name)
            if held and held.trial == trial and set(held.dev) == set(values):
                found[row.name] = held.chosen
            elif self.has_data and (judged := self.judged(trial)):
                found[row.name] = values[min(judged, key=judged.__getitem__)]
        return found

    def judged(self, trial: str) -> dict[str, float]:
        """Figures on dev by value tried, at the end of each trial; none unless all are finished.

        Raises:
            DataError: a trial's curves do not hold the figure.
        """
        tune, figures = self.plan.config.tune, {}
        assert tune is not None
        runs = self.plan.trials()[trial].values()
        for value, run in zip(tune.values, runs, strict=True):
            directory = self.trained(run)
            if directory is None:
                return {}
            curve = read_curves(directory).get(f"dev/{tune.by}")
            if not curve:
                raise DataError(
                    f"{directory}: its curves hold no dev/{tune.by}",
                    "choose another figure of dev for tune.by, such as loss",
                )
            figures[str(value)] = curve[-1][1]
        return figures

    def budget(self) -> str:
        """What each trial is given."""
        tune = self.plan.config.tune
        settings = {**self.plan.config.set, **(tune.set if tune else {})}
        return " ".join(f"{key}={value}" for key, value in settings.items())

    def tuning(self, chosen: Mapping[str, Any]) -> Tuning | None:
        """What tuning.json is to hold; None where trials are not here."""
        tune = self.plan.config.tune
        if tune is None or not self.has_data:
            return None
        models = {}
        for row, value in chosen.items():
            trial = self.plan.trial_of(row)
            if figures := self.judged(trial):
                models[row] = Trials(trial=trial, dev=figures, chosen=value)
        before = read_plan(self.recipe.dir, self.plan.name).tuning
        same = before and (before.key, before.judged_by, before.budget)
        if before and same == (tune.key, tune.by, self.budget()):
            models = {**before.models, **models}
        return Tuning(key=tune.key, judged_by=tune.by, budget=self.budget(), models=models)

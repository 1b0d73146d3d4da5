"""An experiment as a file: `conf/plans/NAME.yaml`, which a recipe's conf/plans/NAME.yaml overlays.

A plan says which models are trained, which keys of the configuration vary on purpose, what is
chosen on dev, and what is decoded. Two of its runs may differ in what it declares, nothing else.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from asrlib.config import as_override, configclass
from asrlib.experiments.tune_decode import Decoding
from asrlib.scoring.records import Told
from asrlib.training.config import MACHINE_KEYS

SECTION = "plans"  # of conf/
# Sections that a run's identity does not hold: they decide how it is decoded, scored, published.
_LATER_SECTIONS = frozenset({"decode", "score", "verification", "publish", SECTION})
# Keys that name the directory of cohorts.
COHORT_KEYS = ("mitigation.cohorts.directory", "membership.cohorts")
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

Settings = dict[str, Any]  # values by key, as of --set


@configclass
class Variant:
    """A row of a plan: a model with settings of its own.

    Attributes:
        name: of the row, and part of its runs' names.
        model: of `conf/model/<model>.yaml`.
        set: values by key; they count as declared factors.
        kind: what the row is in a table of mitigations; None elsewhere.
        true_cohorts: whether its models are decoded with the true cohorts of the speakers, too.
        found_cohorts: whether they are decoded with the cohorts that each utterance's voice tells,
            too; only cohorts that are clusters of voices have them.
        shares: shares of the way from the start to its models, at which models between them are
            decoded, too.
        init: model file, relative to the recipe, that its runs start from (`train.init_part`).
    """

    name: str
    model: str
    set: Settings = Field(default_factory=dict)
    kind: Literal["control", "adapt", "train"] | None = None
    true_cohorts: bool = False
    found_cohorts: bool = False
    shares: tuple[float, ...] = ()
    init: str = ""

    @property
    def told(self) -> tuple[Told, ...]:
        """What its models are told of cohorts in further decodes."""
        ways: tuple[tuple[Told, bool], ...] = (
            ("true", self.true_cohorts),
            ("found", self.found_cohorts),
        )
        return tuple(way for way, wanted in ways if wanted)


@configclass
class Tune:
    """What chooses the value of a key for each row: short trainings, one for each value.

    Attributes:
        key: the key of the configuration.
        values: those that are tried.
        by: a figure on dev, such as `ctc`; the lowest at the end of its trial wins.
        set: further settings of the trials.
        judged_by: by row, another row or model whose trials choose for it.
    """

    key: str
    values: tuple[Any, ...]
    by: str = "ctc"
    set: Settings = Field(default_factory=dict)
    judged_by: dict[str, str] = Field(default_factory=dict)


@configclass
class Start:
    """A finished model that all runs of the plan go on from; trained only if one has to be run.

    Attributes:
        start: what this model itself starts from.
    """

    model: str
    set: Settings = Field(default_factory=dict)
    start: Start | None = None


@configclass
class PlanConfig:
    """conf/plans/NAME.yaml.

    Attributes:
        title: of its page.
        finding: what came out, in at most four sentences; people write it.
        models: rows without settings of their own, by the names of their models.
        variants: further rows.
        only: names of the rows that are run; none: all.
        equal_size: models whose numbers of parameters may differ by 5 % at most.
        set: settings of every run.
        factors: values by key; every row is trained with each combination of them.
        tune: None where no value is chosen.
        start: None where runs start from random weights.
        test_sets: sets to decode; none: every data/test*, or mix_test of mixtures.
        decoding: a further decoding of the test sets; None for none.
        reference: the row that the others are compared with; none: the first.
        controls: rows of speaker models that the others are compared with, too.
        stages: `one_talker` decodes and scores; `mixtures` scores with score-meetings; `voices`
            embeds and scores verification.
        bench: measure real-time factors of each row's first run.
    """

    title: str
    finding: str = ""
    models: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    only: tuple[str, ...] = ()
    equal_size: tuple[str, ...] = ()
    set: Settings = Field(default_factory=dict)
    factors: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    tune: Tune | None = None
    start: Start | None = None
    test_sets: tuple[str, ...] = ()
    searches: tuple[str, ...] = ("greedy",)
    decoding: Decoding | None = None
    reference: str = ""
    controls: tuple[str, ...] = ()
    stages: Literal["one_talker", "mixtures", "voices"] = "one_talker"
    bench: bool = False

    def rows(self) -> tuple[Variant, ...]:
        """The rows of the plan's table, in order."""
        return tuple(row for row in self.all_rows() if not self.only or row.name in self.only)

    def all_rows(self) -> tuple[Variant, ...]:
        """The rows, also those that `only` leaves out."""
        return tuple(Variant(name=model, model=model) for model in self.models) + self.variants

    @property
    def mitigates(self) -> bool:
        """Whether its rows change a trained model for a cohort of speakers."""
        return any(row.kind is not None for row in self.rows())


@dataclass(frozen=True)
class PlannedRun:
    """A training, and what follows it.

    Attributes:
        name: its directory under exp/.
        row: name of the plan's row that it belongs to; of a trial, that which was tried.
        factors: values of what the plan varies on purpose, by key.
        overrides: `section.key=value` strings that make the run what it is, those of the command
            line included.
        start, init: the run, or the model file of its row, that it starts from.
        given: whether the start is a finished model of exp/ that was named, whatever made it.
    """

    name: str
    row: str
    model: str
    factors: Settings
    overrides: tuple[str, ...]
    start: PlannedRun | None = None
    given: bool = False
    init: str = ""


@dataclass(frozen=True)
class Plan:
    """A plan in a recipe.

    Attributes:
        name: of its folder of results and its runs' names: that of the file and, where --set
            changes the runs, what it changes.
        config: what the file says.
        given: overrides of the command line for every run.
        published: whether the runs are those of the file, which the store of results is for.
        start: a finished model that takes the place of the file's start; None: the file's.
    """

    name: str
    config: PlanConfig
    given: tuple[str, ...] = ()
    published: bool = True
    start: PlannedRun | None = None

    def row(self, name: str) -> Variant:
        """Return a row by its name."""
        return next(row for row in self.config.rows() if row.name == name)

    def between(self, run: PlannedRun) -> dict[str, float]:
        """Models between the start and a run: by directory under exp/, the share of the way."""
        shares = self.row(run.row).shares
        return {f"{run.name}-share{share:g}": share for share in shares}

    def trials(self) -> dict[str, dict[str, PlannedRun]]:
        """Short trainings that choose a value: by row or model tried, by value as JSON."""
        tune = self.config.tune
        if tune is None:
            return {}
        return {
            tried.name: {
                json.dumps(value): self._run(
                    tried,
                    "tune-" + slug(tried.name) + part_of_name(tune.key, value),
                    {**tune.set, tune.key: value},
                )
                for value in tune.values
            }
            for tried in map(self._tried, self.config.rows())
        }

    def trial_of(self, row: str) -> str:
        """Whose trials choose a row's value."""
        tune = self.config.tune
        return tune.judged_by.get(row, row) if tune else row

    def _tried(self, row: Variant) -> Variant:
        name = self.trial_of(row.name)
        named = {other.name: other for other in self.config.all_rows()}
        return named.get(name) or Variant(name=name, model=name)

    def runs(self, chosen: Mapping[str, Any]) -> list[PlannedRun]:
        """All runs, but for the trials and the starts.

        Args:
            chosen: the value of the tuned key by row; a row without one gets none.
        """
        keys, tune = list(self.config.factors), self.config.tune
        runs = []
        for row in self.config.rows():
            tuned = {tune.key: chosen[row.name]} if tune and row.name in chosen else {}
            for values in itertools.product(*self.config.factors.values()):
                varied = dict(zip(keys, values, strict=True))
                name = slug(row.name) + "".join(part_of_name(k, v) for k, v in varied.items())
                factors = {**row.set, **tuned, **varied}
                runs.append(self._run(row, name, factors, self.starting_run()))
        return runs

    def _run(
        self, row: Variant, name: str, factors: Settings, start: PlannedRun | None = None
    ) -> PlannedRun:
        settings = {**self.config.set, **row.set, **factors}
        overrides = (
            *as_overrides(self.config.set),
            *self.given,
            *as_overrides({**row.set, **factors}),
        )
        declared = {key: settings[key] for key in (*row.set, *factors)}
        name = f"{self.name}-{name}"
        return PlannedRun(name, row.name, row.model, declared, overrides, start, init=row.init)

    def starting_run(self) -> PlannedRun | None:
        """The run that all others start from."""
        if self.start is not None:
            return self.start

        def of(start: Start | None) -> PlannedRun | None:
            if start is None:
                return None
            name = f"{self.name}-start-{slug(start.model)}"
            machine = tuple(o for o in self.given if not decides(o))
            overrides = (*as_overrides(start.set), *machine)
            return PlannedRun(name, start.model, start.model, {}, overrides, of(start.start))

        return of(self.config.start)

    def names(self) -> Iterator[str]:
        """Directories under exp/ that the plan's runs have."""
        start = self.starting_run()
        while start is not None:
            yield start.name
            start = start.start
        for trials in self.trials().values():
            yield from (run.name for run in trials.values())
        for run in self.runs({}):
            yield run.name
            yield from self.between(run)


def decides(override: str) -> bool:
    """Whether an override makes another run of a run."""
    section, _, key = override.partition("=")[0].partition(".")
    return section not in _LATER_SECTIONS and not (section == "train" and key in MACHINE_KEYS)


def as_overrides(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings as --set takes them."""
    return tuple(as_override(key, value) for key, value in settings.items())


def slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("_")


def part_of_name(key: str, value: Any) -> str:
    """What a value adds to a run's name: `-seed2` for train.seed: 2."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"-{slug(key.rpartition('.')[2] + text)}"

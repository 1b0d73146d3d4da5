"""An experiment as a file: `conf/plans/NAME.yaml`, which a recipe's conf/plans/NAME.yaml overlays.

A plan says which models are trained, which keys of the configuration vary on purpose, what is
chosen on dev, and what is decoded. Two of its runs may differ in what it declares, nothing else.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from asrlib.config import as_override, configclass, load_named, split_override
from asrlib.errors import ConfigError
from asrlib.experiments.tune_decode import Decoding, check_decoding
from asrlib.recipe import PROJECT_DIR, Recipe
from asrlib.searches import SEARCHES, TURN_SEARCHES
from asrlib.training.config import MACHINE_KEYS

SECTION = "plans"  # of conf/
# Sections that a run's identity does not hold: they decide how it is decoded, scored, published.
_LATER_SECTIONS = frozenset({"decode", "score", "publish", SECTION})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

Settings = dict[str, Any]  # values by key, as of --set


@configclass
class Variant:
    """A row of a plan: a model with settings of its own.

    Attributes:
        name: of the row, and part of its runs' names.
        model: of `conf/model/<model>.yaml`.
        set: values by key; they count as declared factors.
    """

    name: str
    model: str
    set: Settings = Field(default_factory=dict)


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
        equal_size: models whose numbers of parameters may differ by 5 % at most.
        set: settings of every run.
        factors: values by key; every row is trained with each combination of them.
        tune: None where no value is chosen.
        start: None where runs start from random weights.
        test_sets: sets to decode; none: every data/test*, or mix_test of mixtures.
        decoding: a further decoding of the test sets; None for none.
        reference: the row that the others are compared with; none: the first.
        stages: `one_talker` decodes and scores; `mixtures` scores with score-meetings.
        bench: measure real-time factors of each row's first run.
    """

    title: str
    finding: str = ""
    models: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    equal_size: tuple[str, ...] = ()
    set: Settings = Field(default_factory=dict)
    factors: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    tune: Tune | None = None
    start: Start | None = None
    test_sets: tuple[str, ...] = ()
    searches: tuple[str, ...] = ("greedy",)
    decoding: Decoding | None = None
    reference: str = ""
    stages: Literal["one_talker", "mixtures"] = "one_talker"
    bench: bool = False

    def rows(self) -> tuple[Variant, ...]:
        """The rows of the plan's table, in order."""
        return tuple(Variant(name=model, model=model) for model in self.models) + self.variants


@dataclass(frozen=True)
class PlannedRun:
    """A training, and what follows it.

    Attributes:
        name: its directory under exp/.
        row: name of the plan's row that it belongs to; of a trial, that which was tried.
        factors: values of what the plan varies on purpose, by key.
        overrides: `section.key=value` strings that make the run what it is, those of the command
            line included.
        start: the run that it starts from.
    """

    name: str
    row: str
    model: str
    factors: Settings
    overrides: tuple[str, ...]
    start: PlannedRun | None = None


@dataclass(frozen=True)
class Plan:
    """A plan in a recipe.

    Attributes:
        name: of its folder of results and its runs' names: that of the file and, where --set
            changes the runs, what it changes.
        config: what the file says.
        given: overrides of the command line for every run.
        published: whether the runs are those of the file, which the store of results is for.
    """

    name: str
    config: PlanConfig
    given: tuple[str, ...] = ()
    published: bool = True

    def trials(self) -> dict[str, dict[str, PlannedRun]]:
        """Short trainings that choose a value: by row or model tried, by value as JSON."""
        tune = self.config.tune
        if tune is None:
            return {}
        return {
            tried.name: {
                json.dumps(value): self._run(
                    tried,
                    "tune-" + _slug(tried.name) + _part(tune.key, value),
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
        named = {other.name: other for other in self.config.rows()}
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
                name = _slug(row.name) + "".join(_part(k, v) for k, v in varied.items())
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
        return PlannedRun(f"{self.name}-{name}", row.name, row.model, declared, overrides, start)

    def starting_run(self) -> PlannedRun | None:
        """The run that all others start from."""

        def of(start: Start | None) -> PlannedRun | None:
            if start is None:
                return None
            name = f"{self.name}-start-{_slug(start.model)}"
            machine = tuple(o for o in self.given if not _decides(o))
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
        yield from (run.name for run in self.runs({}))


def load_plan(recipe: Recipe, name: str) -> Plan:
    """Read and check a plan.

    Args:
        recipe: its overrides are of every run; those of the section `plans` change the plan itself,
            such as `plans.searches=[greedy,modified_beam]`.

    Raises:
        ConfigError: a key, factor, model, search or set is unknown, a factor has no values, or
            another plan has a run of the same name.
    """
    config = _read(recipe, name, recipe.overrides)
    given = tuple(o for o in recipe.overrides if not o.startswith(f"{SECTION}."))
    changes = [split_override(override) for override in given if _decides(override)]
    plan = Plan(name + "".join(_part(k, v) for k, v in changes), config, given, not changes)
    where = _file(recipe, name)
    _check_rows(config, where, recipe)
    _check_keys(config, where, recipe, given)
    _check_decoding(config, where, recipe)
    _check_names(plan, where, recipe, name)
    return plan


def _read(recipe: Recipe, name: str, overrides: Collection[str]) -> PlanConfig:
    folders = [PROJECT_DIR / "conf", recipe.dir / "conf"]
    return load_named(PlanConfig, SECTION, name, folders, tuple(overrides))


def _file(recipe: Recipe, name: str) -> Path:
    """The file that an error names: the recipe's where there is one."""
    own, common = (f / "conf" / SECTION / f"{name}.yaml" for f in (recipe.dir, PROJECT_DIR))
    return own if own.exists() else common


def _decides(override: str) -> bool:
    """Whether an override makes another run of a run."""
    section, _, key = override.partition("=")[0].partition(".")
    return section not in _LATER_SECTIONS and not (section == "train" and key in MACHINE_KEYS)


def as_overrides(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings as --set takes them."""
    return tuple(as_override(key, value) for key, value in settings.items())


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("_")


def _part(key: str, value: Any) -> str:
    """What a value adds to a run's name: `-seed2` for train.seed: 2."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"-{_slug(key.rpartition('.')[2] + text)}"


def _check_rows(config: PlanConfig, where: Path, recipe: Recipe) -> None:
    rows = config.rows()
    if not rows:
        raise ConfigError(f"{where}: no models and no variants", "name one model or more")
    names = [row.name for row in rows]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{where}: two rows {twice}", "give each a name of its own")
    models = {row.model for row in rows} | set(config.equal_size)
    start = config.start
    while start is not None:
        models.add(start.model)
        start = start.start
    judges = config.tune.judged_by if config.tune else {}
    for row in judges:
        if row not in names:
            raise ConfigError(f"{where}: tune.judged_by: no row {row}", _nearest(row, names))
    folders = [f / "conf" / "model" for f in (PROJECT_DIR, recipe.dir)]
    known = {
        p.relative_to(f).with_suffix("").as_posix() for f in folders for p in f.rglob("*.yaml")
    }
    for model in sorted(models | (set(judges.values()) - set(names))):
        if model not in known:
            raise ConfigError(f"{where}: no model {model}", _nearest(model, sorted(known)))
    if config.reference and config.reference not in names:
        raise ConfigError(
            f"{where}: reference: no row {config.reference}", _nearest(config.reference, names)
        )


def _check_keys(config: PlanConfig, where: Path, recipe: Recipe, given: Collection[str]) -> None:
    declared = [*config.factors, *([config.tune.key] if config.tune else [])]
    fixed = [*config.set, *(key for row in config.rows() for key in row.set)]
    if config.tune:
        fixed += config.tune.set
    start = config.start
    while start is not None:
        fixed += start.set
        start = start.start
    sections = sorted(recipe.sections() - {SECTION})
    for key in (*declared, *fixed):
        section, dot, tail = key.partition(".")
        if not (dot and tail):
            raise ConfigError(
                f"{where}: {key}: no key of a section", "write section.key, such as train.seed"
            )
        if section not in sections:
            raise ConfigError(f"{where}: {key}: no section {section}", _nearest(section, sections))
    for key, values in config.factors.items():
        if not values:
            raise ConfigError(f"{where}: factor {key}: no values", "give one or more")
    if config.tune and not config.tune.values:
        raise ConfigError(f"{where}: tune: no values", "give one or more")
    varied = [*declared, *(key for row in config.rows() for key in row.set)]
    for override in given:
        key = override.partition("=")[0]
        if key in varied:
            raise ConfigError(
                f"--set {override}: the plan varies {key}", f"change its values in {where}"
            )


def _check_decoding(config: PlanConfig, where: Path, recipe: Recipe) -> None:
    searches = SEARCHES if config.stages == "one_talker" else TURN_SEARCHES
    if not config.searches:
        raise ConfigError(f"{where}: no searches", f"choose among {', '.join(searches)}")
    for search in config.searches:
        if search not in searches:
            raise ConfigError(f"{where}: no search {search}", f"choose {', '.join(searches)}")
    if config.decoding is not None:
        check_decoding(config.decoding, where, config.stages, searches)
    known = sorted(path.parent.name for path in recipe.data.glob("*/cuts.jsonl.gz"))
    for name in config.test_sets:
        if known and name not in known:
            fix = "run stage 7" if name.startswith("mix_") else _nearest(name, known)
            raise ConfigError(f"{where}: no set {name} in {recipe.data}", fix)


def _check_names(plan: Plan, where: Path, recipe: Recipe, file: str) -> None:
    """See that no two runs have one name, nor one of them that of another plan's run."""
    seen: set[str] = set()
    for name in plan.names():
        if not _NAME.fullmatch(name) or name in seen:
            raise ConfigError(
                f"{where}: two runs called {name}", "name variants so that they differ"
            )
        seen.add(name)
    folders = [f / "conf" / SECTION for f in (PROJECT_DIR, recipe.dir)]
    others = {
        p.relative_to(f).with_suffix("").as_posix() for f in folders for p in f.rglob("*.y*ml")
    }
    for other in sorted(others - {file}):
        try:
            theirs = Plan(other, _read(recipe, other, ()))
        except ConfigError:
            continue  # it is told of when it is run
        if both := seen.intersection(theirs.names()):
            raise ConfigError(
                f"{where}: plan {other} has a run {min(both)} too", "rename one of the plans"
            )


def _nearest(word: str, valid: Collection[str]) -> str:
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(valid)}"

"""Read and check a plan: `conf/plans/NAME.yaml`, overlaid by that of the recipe."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from asrlib.config import load_named, split_override
from asrlib.errors import ConfigError, DataError
from asrlib.experiments.plan import (
    COHORT_KEYS,
    RUN_NAME,
    SECTION,
    Plan,
    PlanConfig,
    PlannedRun,
    Settings,
    decides,
    part_of_name,
)
from asrlib.experiments.run_record import read_record
from asrlib.experiments.tune_decode import check_decoding
from asrlib.mitigation.cohort_speech import read_cohorts_of
from asrlib.recipe import PROJECT_DIR, Recipe
from asrlib.searches import SEARCHES, TURN_SEARCHES


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
    changes = [split_override(override) for override in given if decides(override)]
    plan = Plan(name + "".join(part_of_name(k, v) for k, v in changes), config, given, not changes)
    where = _file(recipe, name)
    _check_only(config, where)
    _check_rows(config, where, recipe)
    _check_keys(config, where, recipe, given)
    _check_decoding(config, where, recipe)
    _check_names(plan, where, recipe, name)
    return plan


def plan_of_start(recipe: Recipe, plan: Plan, start: str, cohorts: str) -> Plan:
    """Return the plan for a finished model of exp/ and the cohorts of one method.

    Its runs are called START-COHORTS-ROW. They are none of the file's, so they are not published.

    Args:
        start: directory under exp/, with run.json; all rows get its model of conf/model.
        cohorts: directory under exp/cohorts/.

    Raises:
        DataError: the model is not finished or has no record, or the cohorts are missing or are
            those of another corpus.
    """
    if not (recipe.exp / start / "final.pt").exists():
        raise DataError(
            f"{recipe.exp / start}/final.pt: missing", "train the model first (stage 4)"
        )
    model = read_record(recipe.exp / start).model
    read_cohorts_of(recipe.exp / "cohorts" / cohorts, recipe.data / "speakers.tsv")
    directory = json.dumps(f"exp/cohorts/{cohorts}")
    return Plan(
        name=f"{start}-{cohorts}",
        config=replace(
            plan.config,
            variants=tuple(
                replace(row, model=model, set=_with_start(row.set, start))
                for row in plan.config.variants
            ),
        ),
        given=(*plan.given, *(f"{key}={directory}" for key in COHORT_KEYS)),
        published=False,
        start=PlannedRun(start, start, model, {}, (), given=True),
    )


def _with_start(settings: Settings, start: str) -> Settings:
    """Put the start's name for `{start}` in the settings of a row."""
    return {
        key: value.replace("{start}", start) if isinstance(value, str) else value
        for key, value in settings.items()
    }


def _read(recipe: Recipe, name: str, overrides: Collection[str]) -> PlanConfig:
    folders = [PROJECT_DIR / "conf", recipe.dir / "conf"]
    return load_named(PlanConfig, SECTION, name, folders, tuple(overrides))


def _file(recipe: Recipe, name: str) -> Path:
    """The file that an error names: the recipe's where there is one."""
    own = recipe.dir / "conf" / SECTION / f"{name}.yaml"
    return own if own.exists() else PROJECT_DIR / "conf" / SECTION / f"{name}.yaml"


def _check_only(config: PlanConfig, where: Path) -> None:
    names = [row.name for row in config.all_rows()]
    for name in config.only:
        if name not in names:
            raise ConfigError(f"{where}: no row {name}", _nearest(name, names))


def _check_rows(config: PlanConfig, where: Path, recipe: Recipe) -> None:
    rows = config.rows()
    if not rows:
        raise ConfigError(f"{where}: no models and no variants", "name one model or more")
    names = [row.name for row in rows]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: two rows {name}", "give each a name of its own")
    models = {row.model for row in rows} | set(config.equal_size)
    start = config.start
    while start is not None:
        models.add(start.model)
        start = start.start
    names = [row.name for row in config.all_rows()]  # the reference may be run at another time
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
    if config.start and any(row.init for row in rows):
        raise ConfigError(f"{where}: a row has init, but the plan has start", "leave one out")
    named = {"reference": [config.reference] if config.reference else []}
    for key, wanted in (named | {"controls": config.controls}).items():
        for row in wanted:
            if row not in names:
                raise ConfigError(f"{where}: {key}: no row {row}", _nearest(row, names))
    if config.controls and config.stages != "voices":
        raise ConfigError(f"{where}: controls: only plans of stages: voices have them", "delete it")


def _check_keys(config: PlanConfig, where: Path, recipe: Recipe, given: Collection[str]) -> None:
    declared = [*config.factors, *([config.tune.key] if config.tune else [])]
    fixed = [*config.set, *(key for row in config.rows() for key in row.set)]
    if config.tune:
        fixed += config.tune.set
    start = config.start
    while start is not None:
        fixed += start.set
        start = start.start
    sections = sorted(recipe.sections().keys() - {SECTION})
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
        if not RUN_NAME.fullmatch(name) or name in seen:
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

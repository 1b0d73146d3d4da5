"""A very small mini for tests of faults: its configuration, and the commands of its stages.

A stage is a list of command lines. They are run in a process that has already loaded all libraries,
so that a kill falls into the stage's own work: loading takes seconds, the work a fraction of one.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import yaml
from command_fakes import Outcome, call, in_process
from plan_fakes import here

import asrlib

REPO = Path(__file__).resolve().parents[1]
MINI = REPO / "egs" / "mini"
sys.path[:0] = [str(REPO), str(MINI / "local")]  # as path.sh and the interpreter set it

import generate  # noqa: E402
import raw  # noqa: E402

_SETS = {"train": 4, "dev": 2, "test": 3, "discovery": 8, "confirmation": 8}  # speakers
_MANY = 50  # what `corpus.scale` divides by
_SMALL = {"lstm": {"layers": 1, "hidden_dim": 32}, "output_dim": 32, "input_dim": 32}
_JOINT = {"predictor": {"output_dim": 16}, "joiner_dim": 16}
_ADAPT = "mitigation.adaptation"
_CONF: dict[str, dict[str, Any]] = {
    "corpus": {
        "scale": 1 / _MANY,
        "groups": {},
        "sets": {
            name: {"speakers": _MANY * count, "seconds_per_speaker": 3.0}
            for name, count in _SETS.items()
        },
    },
    "tokens": {"vocab_size": 40},
    "train": {"epochs": 2, "max_steps": 8, "warmup_steps": 2, "valid_interval": 3},
    "data": {"max_frames": 800, "num_buckets": 1},
    "augment": {"speeds": [1.0, 1.1]},
    "score": {"replicates": 100, "permutations": 99, "min_speakers": 2, "min_words": 5},
    "cohorts": {"methods": ["tree", "scan", "metadata"], "min_speakers": 2, "permutations": 9},
    "mixtures": {"per_condition": 2},
    "speaker": {"speakers": 4, "per_epoch": 4, "dev_utts": 4, "crop_seconds": 1.0}
    | {"train": {"max_steps": 4, "warmup_steps": 2, "valid_interval": 2}},
    "publish": {"public": True},
    "model/lstm": {"encoder": _SMALL, **_JOINT},
    "model/speaker/ecapa": {"extractor": {"channels": 16, "aggregate_dim": 16, "se_dim": 8}},
    "plans/small": {
        "title": "A small plan",
        "set": {"train.max_steps": 4},
        "variants": [{"name": "plain", "model": "lstm"}],
        "factors": {"train.seed": [1]},
        "test_sets": ["test"],
    },
    "plans/mitigation": {
        "title": "Mitigations",
        "set": {
            "mitigation.cohorts.sets": ["discovery"],
            "mitigation.cohorts.choose": 0.0,
            f"{_ADAPT}.train.max_steps": 4,
            f"{_ADAPT}.train.valid_interval": 2,
        },
        "variants": [
            {
                "name": "general",
                "model": "lstm",
                "kind": "control",
                "set": {f"{_ADAPT}.method": "finetune", f"{_ADAPT}.speech": "general"},
            },
            {
                "name": "finetune",
                "model": "lstm",
                "kind": "adapt",
                "set": {f"{_ADAPT}.method": "finetune", f"{_ADAPT}.speech": "cohort"},
            },
        ],
        "factors": {"train.seed": [1]},
        "start": {"model": "lstm"},
        "test_sets": ["confirmation"],
    },
}
_START = ("--start", "lstm", "--cohorts", "metadata", "--set", "plans.test_sets=[confirmation]")


@dataclass(frozen=True)
class Stage:
    """A part of the pipeline.

    Attributes:
        number: of the stage in run.sh; None: it belongs to none.
        commands: command lines of `python -m asrlib`, or of the recipe's programs in local/.
    """

    name: str
    number: int | None
    commands: tuple[str, ...]


def _decoded(*names: str) -> Iterator[str]:
    for name in names:
        yield f"decode --name lstm --test-set {name}"
        yield f"score --name lstm --test-set {name}"


STAGES = (
    Stage("corpus", 0, ("generate --nj 2",)),
    Stage("manifests", 1, ("raw", "manifests")),
    Stage("fbank", 2, ("fbank --nj 1",)),
    Stage("tokens", 3, ("tokens",)),
    Stage("train", 4, ("train --model lstm",)),
    Stage("decode", 5, ("decode --name lstm",)),
    Stage("score", 6, ("score --name lstm",)),
    Stage("mixtures", 7, ("mixtures",)),
    Stage(
        "speakers",
        8,
        (
            "train --model speaker/ecapa --name ecapa",
            "embed --name ecapa --set-name dev",
            "embed --name ecapa --set-name test",
            "score-verification --name ecapa",
        ),
    ),
    Stage(
        "cohorts",
        9,
        (
            *_decoded("discovery", "confirmation"),
            "cohorts find --name lstm --assign train",
            "cohorts confirm --name lstm",
            "cohorts explain --method metadata --name lstm --test-set confirmation",
        ),
    ),
    Stage("mitigate", 10, (f"plan mitigation --nj 1 {' '.join(_START)}",)),
    Stage(
        "fairness",
        11,
        (
            "score --name lstm --test-set confirmation --cohorts {recipe}/exp/cohorts/metadata",
            f"judge-mitigations --plan mitigation {' '.join(_START)}",
        ),
    ),
    Stage("plan", None, ("plan small --nj 1",)),
    Stage("publish", None, ("publish",)),
    Stage("report", 13, ("results",)),
)


def write_small_recipe(recipe: Path) -> None:
    """Write conf/ of a recipe whose whole pipeline works on a minute of speech."""
    away = shutil.ignore_patterns("plans", "run.conf")
    shutil.copytree(MINI / "conf", recipe / "conf", ignore=away)
    for section, values in _CONF.items():
        path = recipe / "conf" / f"{section}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        before = yaml.safe_load(path.read_text()) if path.exists() else {}
        path.write_text(yaml.safe_dump(_merged(before, values), sort_keys=False))


def _merged(before: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    both = {**before}
    for key, value in values.items():
        nested = isinstance(value, dict) and value and isinstance(both.get(key), dict)
        both[key] = _merged(both[key], value) if nested else value
    return both


def run_stage(stage: Stage, recipe: Path) -> Outcome:
    """Run a stage's commands in this process, up to the first that fails."""
    programs = {"generate": generate.command, "raw": raw.command}
    done = Outcome(0, "", "")
    with _one_process(), _fixed_clocks():
        for line in stage.commands:
            words = line.format(recipe=recipe).split()
            where = ("--recipe-dir", str(recipe))
            if program := programs.get(words[0]):
                done = call(*words[1:], *where, command=program)
            else:
                done = call(*words, *where)
            if done.code:
                return done
    return done


@contextmanager
def _one_process() -> Iterator[None]:
    """Jobs run in this process: theirs would take seconds to start."""
    with (
        patch("asrlib.cli.fbank.run_array", in_process),
        patch("asrlib.experiments.run_plan.run_each", here),
    ):
        yield


@contextmanager
def _fixed_clocks() -> Iterator[None]:
    """Costs, dates and commits, which results contain, are the same in every run."""

    def clock() -> Callable[[], float]:
        ticks = iter(range(1_000_000))
        return lambda: next(ticks) / 1024  # differences are exact, however late the first tick

    now = datetime(2030, 1, 1, tzinfo=timezone.utc)
    usage = SimpleNamespace(ru_maxrss=1024.0)
    batch, record = "asrlib.streaming.batch", "asrlib.experiments.run_record"
    with (
        patch(f"{batch}.time", SimpleNamespace(process_time=clock(), perf_counter=clock())),
        patch(f"{batch}.resource.getrusage", lambda _: usage),
        patch(f"{record}.datetime", SimpleNamespace(now=lambda _: now)),
        patch(f"{record}.git_state", lambda _: None),
    ):
        yield


@functools.cache
def load_libraries() -> None:
    """Import the whole package and what it imports, so that forked processes need not."""
    for module in pkgutil.walk_packages(asrlib.__path__, "asrlib."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

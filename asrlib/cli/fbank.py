"""`python -m asrlib fbank`: stage 2, filter-bank features."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from asrlib.cli.common import log_to, stage_options
from asrlib.cli.job_options import job_options, parse_options
from asrlib.data.augment import AugmentConfig
from asrlib.data.manifests import write_cuts
from asrlib.data.noise import NOISE_SET, import_noise, make_noise_cuts
from asrlib.data.raw import TRAIN_SET
from asrlib.data.sampler import DataConfig
from asrlib.errors import DataError
from asrlib.features.extract import (
    FBANK_VERSION,
    Moments,
    ShardTask,
    add_moments,
    extract_shard,
    merge_shards,
)
from asrlib.features.fbank import FbankConfig
from asrlib.features.on_the_fly import STORAGE as ON_THE_FLY
from asrlib.files import alone
from asrlib.jobs import run_array
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp

CUTS_PER_JOB = 500  # at least, because starting a process takes as long as this many cuts


@dataclass(frozen=True)
class SetPlan:
    """Inputs and outputs of stage 2 for one set.

    Attributes:
        name: name of the set.
        cuts: manifest of the cuts from stage 1.
        out: manifest to write, of the same cuts with features.
        store: directory of the feature archives.
        speeds: factors of speed perturbation; 1.0 is the original speed.
        cmvn: file to write mean and standard deviation to; only for the train set, else None.
        stored: whether the features are stored, or computed on the fly.
        stamp: stamp of the set.
    """

    name: str
    cuts: Path
    out: Path
    store: Path
    speeds: tuple[float, ...]
    cmvn: Path | None
    stored: bool
    stamp: Stamp

    def shards(self, nj: int, config: FbankConfig) -> list[ShardTask]:
        """Divide the set into shards: at most `nj`, and at most one per `CUTS_PER_JOB` cuts."""
        with _naming(self.cuts), gzip.open(self.cuts) as lines:
            cuts = sum(1 for _ in lines) * len(self.speeds)
        count = min(nj, -(-cuts // CUTS_PER_JOB) or 1)
        key = self.stamp.key()[:12]
        summed = self.cmvn is not None
        return [
            ShardTask(
                self.cuts, self.store, key, index, count, self.speeds, config, self.stored, summed
            )
            for index in range(count)
        ]


@click.command("fbank")
@stage_options
@job_options
@click.option(
    "--noise-cuts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A lhotse manifest of noise to add to training audio, instead of generated noise.",
)
def command(
    recipe: Recipe, nj: int, engine: str, options: tuple[str, ...], noise_cuts: Path | None
) -> None:
    """Compute the features of every set in parallel jobs, and the statistics of the train set.

    The statistics are the mean and the standard deviation of each feature. With
    data.features=on_the_fly the features are not stored: only those of the train set are computed
    here, for the statistics, and the manifests say how to compute them when they are needed.
    """
    log_to(recipe.data / "log" / "fbank.log")
    config = recipe.config(FbankConfig, "features")
    augment = recipe.config(AugmentConfig, "augment")
    if augment.noise_probability > 0:
        _prepare_noise(recipe, config, noise_cuts)
    stored = recipe.config(DataConfig, "data").features == "stored"
    plans = [_plan(recipe, path, config, augment, stored) for path in _manifests(recipe)]
    due = [plan for plan in plans if recipe.force or not plan.stamp.is_current()]
    if not due:
        logging.info("fbank: up to date")
        return
    told = f"{recipe.data / 'fbank'}: another run of the same stage is at work there"
    with alone(recipe.data / "fbank" / ".lock", told, "wait until it ends, or stop it"):
        _extract(due, config, recipe.force, nj, engine, parse_options(options), recipe.data / "log")


def _manifests(recipe: Recipe) -> list[Path]:
    found = sorted(recipe.data.glob("*/cuts.jsonl.gz"))
    if not found:
        raise DataError(f"{recipe.data}: no set with cuts.jsonl.gz", "run stage 1 first")
    return found


def _plan(
    recipe: Recipe, cuts: Path, config: FbankConfig, augment: AugmentConfig, stored: bool
) -> SetPlan:
    name = cuts.parent.name
    out, store = cuts.parent / "cuts_fbank.jsonl.gz", recipe.data / "fbank" / name
    train = name == TRAIN_SET
    speeds = augment.speeds if train else (1.0,)
    cmvn = recipe.data / "fbank" / "cmvn.json" if train else None
    stamp = Stamp(
        store / "stamp",
        inputs=[cuts],
        config={
            "features": config,
            "speeds": speeds,
            **({} if stored else {"storage": ON_THE_FLY}),  # absent in stamps of older versions
        },
        outputs=[out, *([cmvn] if cmvn else [])],
        version=FBANK_VERSION,
    )
    return SetPlan(name, cuts, out, store, speeds, cmvn, stored, stamp)


def _extract(
    plans: Sequence[SetPlan],
    config: FbankConfig,
    force: bool,
    nj: int,
    engine: str,
    options: dict[str, Any],
    log_dir: Path,
) -> None:
    """Run the shards of all sets as one array of jobs, then merge and stamp each set."""
    shares = [plan.shards(nj, config) for plan in plans]
    tasks = [task for share in shares for task in share]
    if force:
        for task in tasks:
            task.moments.unlink(missing_ok=True)
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        for plan in plans:
            stack.enter_context(plan.stamp.making())
        moments = run_array(
            *(_extract_shard, tasks),
            nj=nj,
            engine=engine,
            log_dir=log_dir,
            name="fbank",
            options=options,
        )
        by_task = dict(zip(tasks, moments, strict=True))
        for plan, share in zip(plans, shares, strict=True):
            _finish(plan, share, [by_task[task] for task in share])
    seconds = sum(m.frames for m in moments) * config.frame_shift
    speed = seconds / (time.monotonic() - begin)
    logging.info("fbank: %.0f s of features, %.0f s per second", seconds, speed)
    if not all(plan.stored for plan in plans):
        logging.info("fbank: the features are not stored: data.features is on_the_fly")


def _extract_shard(task: ShardTask) -> Moments:
    """Extract a shard in a job; the error of an unreadable manifest names the manifest."""
    with _naming(task.cuts):
        return extract_shard(task)


@contextlib.contextmanager
def _naming(cuts: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, json.JSONDecodeError) as e:
        raise DataError(
            f"{cuts}: unreadable or half-written: {e}", "run stage 1 again with --force"
        ) from e


def _finish(plan: SetPlan, tasks: Sequence[ShardTask], moments: Sequence[Moments]) -> None:
    total = add_moments(moments)
    if total.frames == 0:
        raise DataError(
            f"{plan.cuts}: its audio gives no feature frames",
            "check the corpus and run stage 1 again",
        )
    if plan.cmvn:
        total.write_cmvn(plan.cmvn)
    merge_shards(tasks, plan.out)
    logging.info("%s: %d frames -> %s", plan.name, total.frames, plan.out)


def _prepare_noise(recipe: Recipe, config: FbankConfig, manifest: Path | None) -> None:
    """Write `data/noise/cuts.jsonl.gz`, which is then processed like any other set."""
    out = recipe.data / NOISE_SET / "cuts.jsonl.gz"
    if manifest is None and out.exists():
        return
    if manifest is None:
        cuts = make_noise_cuts(out.parent / "audio", config.sample_rate)
    else:
        cuts = import_noise(manifest, config.sample_rate)
    write_cuts(out, cuts)

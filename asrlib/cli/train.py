"""`python -m asrlib train`: stage 4, train a model or resume its training."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from asrlib.cli.common import command_line, log_to, stage_options
from asrlib.cli.rank_options import joined, own_place, rank_options, start
from asrlib.experiments.factors import told_factors
from asrlib.experiments.run_record import (
    RUN_FILE,
    RunRecord,
    hash_data,
    make_record,
    start_of,
)
from asrlib.experiments.runs import run_name
from asrlib.experiments.same_training import copy_training, same_training
from asrlib.files import alone, atomic_write
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp
from asrlib.training.build import Configs, build_trainer, load_configs
from asrlib.training.ranks import Ranks
from asrlib.training.trainer import TRAIN_VERSION, Outcome

_OWN = ("model", "name", "init", "plan", "factors")  # options that the record's argv repeats

logger = logging.getLogger(__name__)


@click.command("train")
@stage_options
@rank_options
@click.option("--model", required=True, help="conf/model/MODEL.yaml, for example conv_rnnt.")
@click.option("--name", help="Directory under exp/; by default the model's name, with _ for /.")
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    help="A final.pt, or its directory, to start from. It must be of the same model, or, with"
    " --set train.init_part=encoder, have the same encoder, whatever its tokens. A model of"
    " several talkers may also start from the same model of a single talker, trained with"
    " --set model.encoder.channels=1; an amortized Transformer also from amortized/full.",
)
@click.option("--plan", metavar="NAME", help="The plan of the run, for its record.")
@click.option(
    "--factor",
    "factors",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="A value that the plan varies on purpose and --set sets, for the record. May be repeated.",
)
def command(
    recipe: Recipe,
    model: str,
    name: str | None,
    init: Path | None,
    plan: str | None,
    factors: tuple[str, ...],
    ranks: int,
    rank_timeout: float,
) -> None:
    """Train a model in exp/NAME, or resume an earlier run there.

    A model of several talkers (sts, mt_rnnt) is trained on mixtures of data/train, which are made
    on the fly with the settings of conf/mixtures.yaml, and validated on data/mix_dev.

    exp/NAME/run.json describes the run: configuration, hashes of the data, code, machine. With
    --plan, a finished run of exp/ that has the same configuration and data is copied.

    On SIGTERM or Ctrl-C the command saves a checkpoint and exits with status 143 or 130. Run the
    same command again to resume, with any number of ranks.
    """
    directory = recipe.exp / (name or run_name(model))
    place = own_place(ranks)
    log_to(directory / "log" / "train.log", quiet=place is not None and place.rank > 0)
    configs = load_configs(recipe, model)
    init = init / "final.pt" if init is not None and init.is_dir() else init
    run = _Run(
        recipe, model, directory, configs, init, plan, told_factors(factors, configs, recipe, model)
    )
    if place is None and ranks > 1:
        sys.exit(start(ranks))
    with joined(place, configs.train.device, rank_timeout) as met:
        outcome = run.train(met)
    if outcome is not None and outcome.signal is not None:
        sys.exit(128 + outcome.signal)


@dataclass(frozen=True)
class _Run:
    """A training with the files that describe it, which rank 0 writes."""

    recipe: Recipe
    model: str
    directory: Path
    configs: Configs
    init: Path | None
    plan: str | None
    factors: Mapping[str, Any]

    def train(self, ranks: Ranks) -> Outcome | None:
        """Train, unless the model is up to date."""
        stamp = self._stamp()
        done = ranks.is_first and not self.recipe.force and stamp.is_current()
        if ranks.from_first(done):
            logger.info("%s: up to date", self.directory / "final.pt")
            return None
        told = f"{self.directory}: another training is at work there"
        fix = "wait until it ends, stop it, or give another --name"
        with alone(self.directory / ".lock", told, fix) if ranks.is_first else nullcontext():
            key = stamp.key() if ranks.is_first else None  # of the data as they are read now
            trainer = build_trainer(
                self.configs, self.directory, self.recipe.data, self.init, ranks
            )
            record = self._record()
            if ranks.from_first(ranks.is_first and self._is_copied(record, stamp, key)):
                return None
            if ranks.is_first and self.recipe.force:
                _clear(self.directory)  # after building: an earlier run survives its failure
            trainer.resume()
            if ranks.is_first:
                with atomic_write(self.directory / "config.yaml") as f:
                    yaml.safe_dump(self.configs.sections(), f, sort_keys=False)
                record.to_file(self.directory / RUN_FILE)
            outcome = trainer.run()
            if ranks.is_first and outcome.signal is None:
                stamp.write(key)
        return outcome

    def _is_copied(self, record: RunRecord, stamp: Stamp, key: str | None) -> bool:
        """Copy the same training of a plan from another name, if there is one."""
        if self.plan is None or self.recipe.force:
            return False
        known = same_training(self.recipe.exp, record.name, record.identity)
        if known is None:
            return False
        logger.info("%s is the same training: it is copied, not repeated", known)
        copy_training(known, self.directory, record)
        stamp.write(key)
        return True

    def _files(self) -> tuple[Path, ...]:
        return self.configs.input_files(self.recipe.data)

    def _stamp(self) -> Stamp:
        return Stamp(
            self.directory / ".train.stamp",
            (*self._files(), *((self.init,) if self.init else ())),
            self.configs.of_a_result(),
            [self.directory / "final.pt"],
            version=TRAIN_VERSION,
            lasting=True,
        )

    def _record(self) -> RunRecord:
        return make_record(
            name=self.directory.name,
            model=self.model,
            plan=self.plan,
            factors=self.factors,
            argv=shlex.split(command_line(self.recipe, *_OWN)),
            config=self.configs.sections(),
            data=hash_data(self.recipe.data, self._files()),
            start=start_of(self.init),
        )


def _clear(directory: Path) -> None:
    """Delete the outputs of an earlier run, except its log."""
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(directory / name, ignore_errors=True)
    (directory / "final.pt").unlink(missing_ok=True)

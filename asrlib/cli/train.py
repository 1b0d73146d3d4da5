"""`python -m asrlib train`: stage 4, train a model or resume its training."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click
import yaml

from asrlib.cli.common import command_line, log_to, recipe_options
from asrlib.config import split_override
from asrlib.errors import ConfigError
from asrlib.experiments.run_record import RUN_FILE, hash_data, make_record, start_of
from asrlib.experiments.runs import run_name
from asrlib.files import alone, atomic_write
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp
from asrlib.training.build import Configs, build_trainer, load_configs
from asrlib.training.trainer import TRAIN_VERSION

_OWN = ("model", "name", "init", "plan", "factors")  # options that the record's argv repeats

logger = logging.getLogger(__name__)


@click.command("train")
@recipe_options
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
) -> None:
    """Train a model in exp/NAME, or resume an earlier run there.

    A model of several talkers (sts, mt_rnnt) is trained on mixtures of data/train, which are made
    on the fly with the settings of conf/mixtures.yaml, and validated on data/mix_dev.

    exp/NAME/run.json describes the run: configuration, hashes of the data, code, machine.

    On SIGTERM or Ctrl-C the command saves a checkpoint and exits with status 143 or 130. Run the
    same command again to resume.
    """
    directory = recipe.exp / (name or run_name(model))
    log_to(directory / "log" / "train.log")
    configs = load_configs(recipe, model)
    final = directory / "final.pt"
    init = init / "final.pt" if init is not None and init.is_dir() else init
    files = (*configs.input_files(recipe.data), *((init,) if init else ()))
    stamp = Stamp(
        directory / ".train.stamp",
        files,
        configs.of_a_result(),
        [final],
        version=TRAIN_VERSION,
        lasting=True,
    )
    if not recipe.force and stamp.is_current():
        logger.info("%s: up to date", final)
        return
    varied = _factors(factors, configs)
    with _alone(directory):
        trainer = build_trainer(configs, directory, recipe.data, init)
        record = make_record(
            name=directory.name,
            model=model,
            plan=plan,
            factors=varied,
            argv=shlex.split(command_line(recipe, *_OWN)),
            config=configs.sections(),
            data=hash_data(recipe.data, configs.input_files(recipe.data)),
            start=start_of(init),
        )
        if recipe.force:  # after building, so that an earlier run survives if building fails
            _clear(directory)
        trainer.resume()
        with atomic_write(directory / "config.yaml") as f:
            yaml.safe_dump(configs.sections(), f, sort_keys=False)
        record.to_file(directory / RUN_FILE)
        outcome = trainer.run()
    if outcome.signal is not None:
        sys.exit(128 + outcome.signal)
    stamp.write()


def _factors(factors: Sequence[str], configs: Configs) -> dict[str, Any]:
    """Return the value of each factor by its key.

    Raises:
        ConfigError: the training has another value, or the key does not exist.
    """
    values: dict[str, Any] = {}
    for factor in factors:
        key, value = split_override(factor)
        found: Any = configs.sections()
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found != value:
            raise ConfigError(
                f"--factor {factor}: the training has {key}: {found}", f"give --set {factor} too"
            )
        values[key] = value
    return values


def _alone(directory: Path) -> AbstractContextManager[None]:
    """Lock the directory against other trainings; the lock ends with the process.

    Raises:
        UserError: another process trains in the directory.
    """
    return alone(
        directory / ".lock",
        f"{directory}: another training is at work there",
        "wait until it ends, stop it, or give another --name",
    )


def _clear(directory: Path) -> None:
    """Delete the outputs of an earlier run, except its log."""
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(directory / name, ignore_errors=True)
    (directory / "final.pt").unlink(missing_ok=True)

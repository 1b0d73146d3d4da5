"""`python -m asrlib train`: stage 4, train a model or resume its training."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import yaml

from asrlib.cli.common import command_line, log_to, recipe_options
from asrlib.errors import UserError
from asrlib.experiments.runs import run_name
from asrlib.experiments.training_log import COMMAND_FILE
from asrlib.files import atomic_write
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp
from asrlib.training.build import build_trainer, load_configs
from asrlib.training.trainer import TRAIN_VERSION

logger = logging.getLogger(__name__)


@click.command("train")
@recipe_options
@click.option("--model", required=True, help="conf/model/MODEL.yaml, for example conv_rnnt.")
@click.option("--name", help="Directory under exp/; by default the model's name, with _ for /.")
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    help="A final.pt, or its directory, to start from. It must be of the same model. A model of"
    " several talkers may also start from the same model of a single talker, trained with"
    " --set model.encoder.channels=1; an amortized Transformer also from amortized/full.",
)
def command(recipe: Recipe, model: str, name: str | None, init: Path | None) -> None:
    """Train a model in exp/NAME, or resume an earlier run there.

    A model of several talkers (sts, mt_rnnt) is trained on mixtures of data/train, which are made
    on the fly with the settings of conf/mixtures.yaml, and validated on data/mix_dev.

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
    with _alone(directory):
        trainer = build_trainer(configs, directory, recipe.data, init)
        if recipe.force:  # after building, so that an earlier run survives if building fails
            _clear(directory)
        trainer.resume()
        with atomic_write(directory / "config.yaml") as f:
            yaml.safe_dump(configs.sections(), f, sort_keys=False)
        with atomic_write(directory / COMMAND_FILE) as f:
            f.write(command_line(recipe, "model", "name", "init") + "\n")
        outcome = trainer.run()
    if outcome.signal is not None:
        sys.exit(128 + outcome.signal)
    stamp.write()


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Lock the directory against other trainings; the lock ends with the process.

    Raises:
        UserError: another process trains in the directory.
    """
    with open(directory / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{directory}: another training is at work there",
                "wait until it ends, stop it, or give another --name",
            ) from None
        yield


def _clear(directory: Path) -> None:
    """Delete the outputs of an earlier run, except its log."""
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(directory / name, ignore_errors=True)
    (directory / "final.pt").unlink(missing_ok=True)

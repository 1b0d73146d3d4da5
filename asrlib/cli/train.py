"""`python -m asrlib train`: stage 4, train a model or go on with it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import click
import torch
import yaml
from lhotse import CutSet

from asrlib.cli.common import Recipe, log_to, recipe_options
from asrlib.config import from_dict, to_dict
from asrlib.data.augment import AugmentConfig
from asrlib.data.sampler import DataConfig
from asrlib.errors import ConfigError, UserError
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.files import atomic_write
from asrlib.scoring.records import Utterance
from asrlib.scoring.wer import ErrorRate, align
from asrlib.stamps import Stamp, hash_file
from asrlib.streaming.batch import decode_cuts
from asrlib.streaming.recognizer import DecodeConfig, StreamingRecognizer
from asrlib.text.tokenizer import Tokenizer
from asrlib.training.config import HARMLESS_KEYS, TrainConfig
from asrlib.training.recipe_inputs import RecipeInputs, input_files, read_inputs
from asrlib.training.trainer import Trainer
from asrlib.training.transducer_task import TransducerData, TransducerTask
from asrlib.transducer.model import Transducer, TransducerConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Configs:
    """All that a training run is configured by; one section of conf/ each."""

    model: TransducerConfig
    train: TrainConfig
    data: DataConfig
    augment: AugmentConfig
    features: FbankConfig

    @classmethod
    def of(cls, recipe: Recipe, model: str) -> Configs:
        configs = cls(
            model=recipe.config(TransducerConfig, "model", model),
            train=recipe.config(TrainConfig, "train"),
            data=recipe.config(DataConfig, "data"),
            augment=recipe.config(AugmentConfig, "augment"),
            features=recipe.config(FbankConfig, "features"),
        )
        if configs.train.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("train.device: cuda, but torch sees no GPU", "set train.device=cpu")
        return configs

    def sections(self) -> dict[str, dict[str, Any]]:
        return {name: to_dict(getattr(self, name)) for name in self.__dataclass_fields__}

    def identity(self, files: tuple[Path, ...], data: Path) -> dict[str, Any]:
        """What must not change when a run is continued."""
        hashes = {f"data/{p.relative_to(data)}": hash_file(p) for p in files}
        return _weighty({**self.sections(), "input": hashes})

    @classmethod
    def upgrade(cls, identity: dict[str, Any]) -> dict[str, Any]:
        """An older version's identity, with the defaults of keys that it did not know."""
        hints = get_type_hints(cls)
        with contextlib.suppress(ConfigError):  # it knew keys that are gone: a difference
            filled = {k: to_dict(from_dict(hint, identity[k])) for k, hint in hints.items()}
            return _weighty({**identity, **filled})
        return identity


def _weighty(identity: dict[str, Any]) -> dict[str, Any]:
    """Without the training keys that do not touch the weights."""
    train = {k: v for k, v in identity["train"].items() if k not in HARMLESS_KEYS}
    return {**identity, "train": train}


@click.command("train")
@recipe_options
@click.option("--model", required=True, help="conf/model/MODEL.yaml, for example conv_rnnt.")
@click.option("--name", help="Directory under exp/; by default the model's name.")
def command(recipe: Recipe, model: str, name: str | None) -> None:
    """Stage 4: train a model into exp/NAME, or go on where an earlier run stopped.

    SIGTERM and Ctrl-C save and leave with exit code 143 or 130; the same command goes on.
    """
    directory = recipe.exp / (name or model)
    log_to(directory / "log" / "train.log")
    configs = Configs.of(recipe, model)
    final = directory / "final.pt"
    files = input_files(recipe.data)
    stamp = Stamp(directory / ".train.stamp", files, configs.sections(), [final])
    if not recipe.force and stamp.is_current():
        logger.info("%s: up to date", final)
        return
    inputs = read_inputs(recipe.data)
    with _alone(directory):
        if recipe.force:
            _clear(directory)
        trainer = build_trainer(configs, inputs, directory, recipe.data)
        trainer.resume()
        with atomic_write(directory / "config.yaml") as f:
            yaml.safe_dump(configs.sections(), f, sort_keys=False)
        outcome = trainer.run()
    if outcome.signal is not None:
        sys.exit(128 + outcome.signal)
    stamp.write()


def build_trainer(configs: Configs, inputs: RecipeInputs, directory: Path, data: Path) -> Trainer:
    """The trainer of a fresh model; its weights are drawn from the configured seed."""
    torch.manual_seed(configs.train.seed)
    model = Transducer(configs.model, configs.features.num_bins, inputs.tokenizer.vocab_size)
    model.encoder.norm.set_stats(inputs.mean_F, inputs.std_F)
    logger.info("parameters: %s", model.parameter_counts())
    source = TransducerData(
        train=inputs.train,
        dev=inputs.dev,
        noise=inputs.noise,
        tokenizer=inputs.tokenizer,
        fbank=configs.features,
        data=configs.data,
        augment=configs.augment,
    )
    figures = None
    if configs.train.dev_wer_utts:
        figures = _dev_wer(inputs.dev, inputs.tokenizer, configs.features, configs.train)
    task = TransducerTask(model, source, configs.train, figures)
    identity = configs.identity(inputs.files, data)
    return Trainer(task, configs.train, directory, identity, Configs.upgrade)


def _dev_wer(
    cuts: CutSet, tokenizer: Tokenizer, features: FbankConfig, config: TrainConfig
) -> Callable[[Transducer], dict[str, float]]:
    """Streaming greedy word error rate of some dev utterances, spread evenly over all ids."""
    ordered = sorted(cuts, key=lambda cut: cut.id)
    chosen = ordered[:: max(1, len(ordered) // config.dev_wer_utts)][: config.dev_wer_utts]
    fbank, decode = FbankExtractor(features), DecodeConfig()

    def figures(model: Transducer) -> dict[str, float]:
        decoded, _ = decode_cuts(StreamingRecognizer(model, tokenizer, fbank, decode), chosen)
        aligned = align(
            [
                Utterance(cut.id, "", _words(cut.supervisions[0].text), _words(result.text))
                for cut, result in decoded
            ]
        )
        return {"wer": ErrorRate.sum(a.words for a in aligned).rate}

    return figures


def _words(text: str | None) -> tuple[str, ...]:
    return tuple((text or "").split())


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep others from training in this directory; the lock ends with the process.

    Raises:
        UserError: another process trains there.
    """
    with open(directory / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{directory}: another training is at work there",
                "wait for its end, stop it, or give this one another --name",
            ) from None
        yield


def _clear(directory: Path) -> None:
    """Remove what an earlier run left, but its log."""
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(directory / name, ignore_errors=True)
    (directory / "final.pt").unlink(missing_ok=True)

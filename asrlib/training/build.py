"""From a recipe's configuration to a trainer: the model, its data, its task."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import torch
from lhotse import CutSet

from asrlib.config import from_dict, to_dict
from asrlib.data.augment import AugmentConfig
from asrlib.data.cuts import read_cuts
from asrlib.data.mixture_dataset import MixtureFormat, MixtureTrainingSet
from asrlib.data.mixtures import MixtureConfig
from asrlib.data.sampler import DataConfig
from asrlib.encoders import SeparatorConfig
from asrlib.errors import ConfigError
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.recipe import Recipe
from asrlib.scoring.records import Utterance
from asrlib.scoring.wer import ErrorRate, align
from asrlib.stamps import hash_file
from asrlib.streaming.batch import decode_cuts
from asrlib.streaming.recognizer import DecodeConfig, StreamingRecognizer
from asrlib.text.tokenizer import Tokenizer
from asrlib.training.config import FINISHED_KEYS, HARMLESS_KEYS, TrainConfig
from asrlib.training.talker_task import RecipeMixtures, TalkerTask
from asrlib.training.trainer import Trainer
from asrlib.training.training_inputs import RecipeInputs
from asrlib.training.transducer_task import TransducerData, TransducerTask
from asrlib.transducer.model import Transducer, TransducerConfig
from asrlib.transducer.model_io import load_start

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Configs:
    """All that a training run is configured by; one section of conf/ each."""

    model: TransducerConfig
    train: TrainConfig
    data: DataConfig
    augment: AugmentConfig
    features: FbankConfig
    mixtures: MixtureConfig | None = None  # where the model is one of several talkers

    @classmethod
    def of(cls, recipe: Recipe, model: str) -> Configs:
        model_config = recipe.config(TransducerConfig, "model", model)
        mixtures, own = None, recipe
        if num_talkers(model_config) > 1:
            mixtures = recipe.config(MixtureConfig, "mixtures")
            unknown = set(mixtures.train).difference(TrainConfig.__dataclass_fields__)
            if unknown:
                raise ConfigError(
                    f"mixtures.train: no key {sorted(unknown)[0]} in conf/train.yaml",
                    "fix its name in conf/mixtures.yaml",
                )
            usual = (f"train.{key}={json.dumps(value)}" for key, value in mixtures.train.items())
            own = replace(recipe, overrides=(*usual, *recipe.overrides))
            mixtures = replace(mixtures, train={})  # it has gone into the section of that name
        configs = cls(
            model=model_config,
            train=own.config(TrainConfig, "train"),
            data=recipe.config(DataConfig, "data"),
            augment=recipe.config(AugmentConfig, "augment"),
            features=recipe.config(FbankConfig, "features"),
            mixtures=mixtures,
        )
        if configs.train.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("train.device: cuda, but torch sees no GPU", "set train.device=cpu")
        return configs

    def sections(self) -> dict[str, dict[str, Any]]:
        sections = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: to_dict(config) for name, config in sections.items() if config is not None}

    def of_a_result(self) -> dict[str, Any]:
        """What a finished model depends on."""
        return _weighty(self.sections(), FINISHED_KEYS)

    def identity(self, files: tuple[Path, ...], data: Path) -> dict[str, Any]:
        """What must not change when a run is continued."""
        hashes = {f"data/{p.relative_to(data)}": hash_file(p) for p in files}
        return _weighty({**self.sections(), "input": hashes})

    @classmethod
    def upgrade(cls, identity: dict[str, Any]) -> dict[str, Any]:
        """An older version's identity, with the defaults of keys that it did not know."""
        hints = {k: hint for k, hint in get_type_hints(cls).items() if k != "mixtures"}
        if "mixtures" in identity:
            hints["mixtures"] = MixtureConfig
        with contextlib.suppress(ConfigError):  # it knew keys that are gone: a difference
            filled = {k: to_dict(from_dict(hint, identity[k])) for k, hint in hints.items()}
            return _weighty({**identity, **filled})
        return identity


def num_talkers(config: TransducerConfig) -> int:
    """Output channels of a model."""
    encoder = config.encoder
    return encoder.channels if isinstance(encoder, SeparatorConfig) else 1


def _weighty(identity: dict[str, Any], apart: Set[str] = HARMLESS_KEYS) -> dict[str, Any]:
    """Without the keys of training that may differ."""
    train = {k: v for k, v in identity["train"].items() if k not in apart}
    return {**identity, "train": train}


def build_trainer(
    configs: Configs, inputs: RecipeInputs, directory: Path, data: Path, init: Path | None = None
) -> Trainer:
    """The trainer of a fresh model; its weights are drawn from the configured seed.

    Args:
        init: a model to start this one from.
    """
    torch.manual_seed(configs.train.seed)
    model = Transducer(configs.model, configs.features.num_bins, inputs.tokenizer.vocab_size)
    model.encoder.norm.set_stats(inputs.mean_F, inputs.std_F)
    logger.info("parameters: %s", model.parameter_counts())
    files = inputs.files
    if configs.mixtures is None:
        task = _one_talker(configs, inputs, model)
    else:
        task = _talkers(configs, inputs, model, data)
        files += (dev_mixtures(data),)
    identity = configs.identity(files, data)
    if init is not None:
        load_start(model, inputs.tokenizer, init)
        identity["input"] |= {"init": hash_file(init)}
    return Trainer(task, configs.train, directory, identity, Configs.upgrade)


def _one_talker(configs: Configs, inputs: RecipeInputs, model: Transducer) -> TransducerTask:
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
    return TransducerTask(model, source, configs.train, figures)


def dev_mixtures(data: Path) -> Path:
    return data / "mix_dev" / "cuts.jsonl.gz"


def _talkers(configs: Configs, inputs: RecipeInputs, model: Transducer, data: Path) -> TalkerTask:
    style = configs.model.encoder.turn_style
    bounds = replace(
        configs.data,
        max_frames=configs.mixtures.max_frames,
        max_tokens=configs.mixtures.max_tokens,
    )
    train = MixtureTrainingSet(
        inputs.train,
        configs.mixtures,
        MixtureFormat(inputs.tokenizer, configs.features, style),
        bounds,
        configs.augment,
        model.encoder.subsampling,
    )
    dev = read_cuts(dev_mixtures(data), "make the mixtures first: python -m asrlib mixtures")
    config = configs.train
    mixtures = RecipeMixtures(train, dev, bounds.max_frames, config.seed, config.num_workers)
    return TalkerTask(model, mixtures, config)


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

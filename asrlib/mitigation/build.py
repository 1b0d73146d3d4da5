"""Build the task of a transducer with the mitigations that `conf/mitigation.yaml` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from lhotse import CutSet
from typing_extensions import Self

from asrlib.cohort_file import COHORTS_FILE
from asrlib.data.dataset import filter_trainable
from asrlib.errors import ConfigError, DataError
from asrlib.mitigation.anchor import Anchor
from asrlib.mitigation.cohort_speech import (
    TRAIN_SET,
    CohortSpeech,
    cohort_speech,
    set_file,
    speaker_of,
)
from asrlib.mitigation.config import AdaptationConfig, MitigationConfig, Part
from asrlib.mitigation.epoch_mix import Draw, EpochMix, seconds_of
from asrlib.mitigation.fisher import DECODING_PARTS, train_only
from asrlib.mitigation.fisher_file import fisher_of
from asrlib.mitigation.task import AdaptTask, CohortDev, MixTask
from asrlib.recipe import Recipe
from asrlib.scoring.records import HYP_FILE
from asrlib.training.build import with_values
from asrlib.training.config import HARMLESS_MITIGATION_KEYS, TrainConfig
from asrlib.training.trainer import torch_settings
from asrlib.training.training_inputs import RecipeInputs
from asrlib.training.transducer_build import TransducerConfigs
from asrlib.training.transducer_task import TransducerTask
from asrlib.transducer.model import Transducer


@dataclass(frozen=True, kw_only=True)
class MitigatedConfigs(TransducerConfigs):
    """All settings that decide the result of training or adapting a transducer.

    Attributes:
        mitigation: which cohorts are known and how the model is adapted; None for a training
            without cohorts.
    """

    mitigation: MitigationConfig | None = None

    HARMLESS: ClassVar[Mapping[str, frozenset[str]]] = {
        **TransducerConfigs.HARMLESS,
        "mitigation": HARMLESS_MITIGATION_KEYS,
    }

    @classmethod
    def of(cls, recipe: Recipe, model: str) -> Self:
        mitigation = recipe.config(MitigationConfig, "mitigation")
        if not mitigation.takes_part:
            return super().of(recipe, model)
        _check(mitigation)
        if mitigation.adapts:
            usual = mitigation.adaptation.train
            recipe = with_values(recipe, "mitigation.adaptation", "train", TrainConfig, usual)
            # Its settings are now in the section `train`.
            mitigation = replace(mitigation, adaptation=replace(mitigation.adaptation, train={}))
        configs = super().of(recipe, model)
        if configs.mixtures is not None:
            raise ConfigError(
                f"mitigation: {model} is a model of several talkers", "choose a model of one talker"
            )
        if mitigation.adapts and configs.train.weight_decay:
            raise ConfigError(
                f"train.weight_decay: {configs.train.weight_decay:g} in an adaptation, whose "
                "weights are held to their start and not to 0",
                "set train.weight_decay=0",
            )
        return replace(configs, mitigation=mitigation)

    def input_files(self, data: Path) -> tuple[Path, ...]:
        files = super().input_files(data)
        if self.mitigation is None or not self.mitigation.knows_cohorts:
            return files
        cohorts, recipe = self.mitigation.cohorts, data.parent
        own = [recipe / cohorts.directory / COHORTS_FILE]
        own += [set_file(data, name) for name in cohorts.sets if name != TRAIN_SET]
        own += [recipe / cohorts.labels / HYP_FILE] if cohorts.labels else []
        return (*files, *own)

    def _cohort_dir(self, data: Path) -> Path:
        if self.mitigation is None or not self.mitigation.knows_cohorts:
            return super()._cohort_dir(data)
        return data.parent / self.mitigation.cohorts.directory

    def _one_talker(
        self, model: Transducer, inputs: RecipeInputs, data: Path, init: Path | None
    ) -> TransducerTask:
        if self.mitigation is None:
            return super()._one_talker(model, inputs, data, init)
        mitigation = self.mitigation
        inputs, speech = _with_speech(mitigation, model, inputs, data)
        mix = epoch_mix(mitigation, inputs.train, speech, self.train.seed)
        membership = self._read_membership(data, inputs)
        source = self._source(replace(inputs, train=mix.base), membership, data)
        dev_figures, cohort = self._figures(model, inputs.dev, source, data.parent), None
        if speech is not None and len(speech.choose):
            cohort = CohortDev(
                speech.choose, self._figures(model, speech.choose, source, data.parent)
            )
        if not mitigation.adapts:
            return MixTask(model, source, self.train, dev_figures, mix, cohort)
        if init is None:
            raise ConfigError(
                f"mitigation.adaptation.method: {mitigation.adaptation.method} needs a trained "
                "model to start from",
                "name it with --init",
            )
        if self.train.init_part != "all":
            raise ConfigError(
                f"train.init_part: {self.train.init_part}, but mitigation.adaptation adapts a"
                " whole model",
                "set train.init_part=all",
            )
        freeze(model, mitigation.adaptation.part)
        anchor = self._anchor(mitigation.adaptation, model, inputs, init, speech)
        in_loss = mitigation.adaptation.form == "loss"
        return AdaptTask(model, source, self.train, dev_figures, mix, cohort, anchor, in_loss)

    def _anchor(
        self,
        config: AdaptationConfig,
        model: Transducer,
        inputs: RecipeInputs,
        init: Path,
        speech: CohortSpeech | None,
    ) -> Anchor | None:
        """Return what holds the weights at the start; None for plain fine-tuning."""
        if config.method == "finetune" or config.strength == 0.0:
            return None
        if config.method == "l2":
            return Anchor(model, config.strength)
        general = inputs.train
        if speech is not None:
            general = _others(general, speech.speakers, TRAIN_SET)
        with torch_settings(self.train):
            fisher = fisher_of(
                model, init, general, inputs.tokenizer, config.fisher, self.data.max_frames
            )
        return Anchor(model, config.strength, fisher.diagonal)


def _check(config: MitigationConfig) -> None:
    """Refuse settings that contradict each other.

    Raises:
        ConfigError: names the key.
    """
    if config.adaptation.speech != "general" and not config.knows_cohorts:
        raise ConfigError(
            f"mitigation.adaptation.speech: {config.adaptation.speech}, but no cohorts are known",
            "set mitigation.cohorts.directory, or mitigation.adaptation.speech=general",
        )


def freeze(model: Transducer, part: Part) -> None:
    """Let only the weights of a part change; those that decoding does not use never change.

    The layers of the simple loss and of the CTC loss are frozen so that all methods change the same
    weights: they have no Fisher information.
    """
    train_only(model, DECODING_PARTS if part == "whole" else (part,))


def epoch_mix(
    config: MitigationConfig, train: CutSet, speech: CohortSpeech | None, seed: int
) -> EpochMix:
    """Return the utterances of each epoch.

    Args:
        config: the settings.
        train: the training set.
        speech: speech of the cohort; None if it is not known.
        seed: seed of the fractions.
    """
    adaptation = config.adaptation
    if speech is None or (config.adapts and adaptation.speech == "general"):
        return EpochMix(train)
    if config.adapts and adaptation.speech == "cohort":
        if not adaptation.replay:
            return EpochMix(speech.train)
        general = _others(train, speech.speakers, TRAIN_SET)
        seconds = adaptation.replay / (1.0 - adaptation.replay) * seconds_of(speech.train)
        return EpochMix(speech.train, (Draw(general, seconds / seconds_of(general)),), seed)
    return EpochMix(train, oversampling(config, train, speech), seed)


def oversampling(config: MitigationConfig, train: CutSet, speech: CohortSpeech) -> tuple[Draw, ...]:
    """Return what joins the training set in each epoch.

    An utterance of the training set is there once already. For the control, as much audio of any
    speakers takes the place of the cohort's.
    """
    ids = {cut.id for cut in train}
    draws = []
    for inside in (True, False):
        own, pool = (
            CutSet.from_cuts([cut for cut in cuts if (cut.id in ids) == inside])
            for cuts in (speech.train, speech.pool)
        )
        times = config.oversampling.times - inside
        if not len(own) or not times:
            continue
        if config.oversampling.random:
            times, own = times * seconds_of(own) / seconds_of(pool), pool
        draws.append(Draw(own, times))
    return tuple(draws)


def _with_speech(
    config: MitigationConfig, model: Transducer, inputs: RecipeInputs, data: Path
) -> tuple[RecipeInputs, CohortSpeech | None]:
    """Return the recipe's sets and the speech of the cohort, None if it is not known.

    Training utterances that are too short for their tokens are left out, and so are the cohort's
    speakers from the dev set, and those who choose settings from the training set.
    """

    def kept(cuts: CutSet) -> CutSet:
        subsampling = model.encoder.subsampling
        return filter_trainable(cuts, inputs.tokenizer, subsampling) if len(cuts) else cuts

    if not config.knows_cohorts:
        return replace(inputs, train=kept(inputs.train)), None
    found = cohort_speech(config.cohorts, data, inputs.train)
    speech = replace(
        found, train=kept(found.train), choose=kept(found.choose), pool=kept(found.pool)
    )
    dev = _others(inputs.dev, speech.speakers, "dev")
    train = kept(inputs.train)
    if TRAIN_SET in config.cohorts.sets:
        train = _others(train, frozenset(speaker_of(cut) for cut in found.choose), TRAIN_SET)
    return replace(inputs, train=train, dev=dev), speech


def _others(cuts: CutSet, speakers: frozenset[str], name: str) -> CutSet:
    """Return the cuts of other speakers.

    Raises:
        DataError: there is none.
    """
    others = [cut for cut in cuts if speaker_of(cut) not in speakers]
    if not others:
        raise DataError(
            f"data/{name}: all its speakers belong to the cohort", "choose a smaller cohort"
        )
    return CutSet.from_cuts(others)

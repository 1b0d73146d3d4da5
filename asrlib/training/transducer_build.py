"""Build the task of a transducer, of one talker or several, from a recipe's configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

from typing_extensions import Self

from asrlib.data.augment import AugmentConfig
from asrlib.data.cuts import read_cuts
from asrlib.data.mixture_dataset import MixtureFormat, MixtureTrainingSet
from asrlib.data.mixtures import MixtureConfig
from asrlib.data.sampler import DataConfig
from asrlib.errors import ConfigError
from asrlib.features.fbank import FbankConfig
from asrlib.recipe import Recipe
from asrlib.scoring.records import read_speakers
from asrlib.streaming.recognizer import DecodeConfig, SearchName, build_search
from asrlib.text.turn_labels import TurnStyle
from asrlib.training.build import Configs, with_values
from asrlib.training.config import HARMLESS_DECODING_KEYS, TrainConfig
from asrlib.training.dev_wer import dev_wer
from asrlib.training.item_weights import OFF, GroupDroConfig, GroupDroWeights, Weighted
from asrlib.training.talker_task import RecipeMixtures, TalkerTask
from asrlib.training.task import Task
from asrlib.training.training_inputs import RecipeInputs, input_files, read_inputs
from asrlib.training.transducer_task import TransducerData, TransducerTask
from asrlib.transducer.model import Transducer, TransducerConfig
from asrlib.transducer.model_io import load_start

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TransducerConfigs(Configs):
    """All settings that decide the result of training a transducer.

    Attributes:
        model: settings of the model.
        data: settings of the batches.
        augment: settings of the augmentation.
        features: settings of the features.
        decode: settings of decoding if dev utterances are decoded (`train.dev_wer_utts`), else
            None. They decide the result: with `train.best_by` wer, the dev WER chooses the
            checkpoints that are kept and averaged; with another `best_by`, the model and its
            curves still hold the dev WER, whose meaning must not change during a run.
        mixtures: settings of the mixtures if the model knows several talkers, else None.
        group_dro: settings of group DRO; None if no groups are named.
    """

    model: TransducerConfig
    data: DataConfig
    augment: AugmentConfig
    features: FbankConfig
    decode: DecodeConfig | None = None
    mixtures: MixtureConfig | None = None
    group_dro: GroupDroConfig | None = None

    HARMLESS: ClassVar[Mapping[str, frozenset[str]]] = {
        **Configs.HARMLESS,
        "decode": HARMLESS_DECODING_KEYS,
    }

    @classmethod
    def of(cls, recipe: Recipe, model: str) -> Self:
        mixtures = None
        if recipe.config(TransducerConfig, "model", model).turn_style is not None:
            recipe, mixtures = _for_mixtures(recipe)
        configs = super().of(recipe, model)
        decode = recipe.config(DecodeConfig, "decode") if configs.train.dev_wer_utts else None
        group_dro = recipe.config(GroupDroConfig, "group_dro")
        if group_dro.groups == OFF:
            group_dro = None
        elif mixtures is not None:
            raise ConfigError(
                f"group_dro.groups: {group_dro.groups}, but a mixture has several talkers",
                "set group_dro.groups=none for models of several talkers",
            )
        return replace(configs, decode=decode, mixtures=mixtures, group_dro=group_dro)

    @classmethod
    def decisive(cls, identity: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Leave out the settings of unused searches too; see `Configs.decisive`."""
        sections = super().decisive(identity)
        if decode := sections.get("decode"):
            unused = set(get_args(SearchName)) - {decode["search"]}
            sections["decode"] = {k: v for k, v in decode.items() if k not in unused}
        return sections

    @classmethod
    def upgrade(cls, identity: dict[str, Any]) -> dict[str, Any]:
        """Add the decoding settings that older versions lack; see `Configs.upgrade`.

        Older versions decoded dev utterances with the default settings.
        """
        if identity["train"].get("dev_wer_utts"):
            identity = {"decode": {}, **identity}
        return super().upgrade(identity)

    def input_files(self, data: Path) -> tuple[Path, ...]:
        files = input_files(data)
        if self.group_dro is not None:
            files = (*files, _speaker_table(data))
        return files if self.mixtures is None else (*files, _dev_mixtures(data))

    def build_task(self, data: Path, init: Path | None) -> Task[Any]:
        inputs = read_inputs(data)
        model = Transducer(self.model, self.features.num_bins, inputs.tokenizer.vocab_size)
        model.encoder.norm.set_stats(inputs.mean_F, inputs.std_F)
        logger.info("parameters: %s", model.parameter_counts())
        style = self.model.turn_style
        if self.mixtures is None or style is None:  # `of` sets both to None, or neither
            task = self._weighted(self._one_talker(model, inputs), data)
        else:
            task = self._talkers(model, inputs, self.mixtures, style, data)
        if init is not None:
            load_start(model, inputs.tokenizer, init)
        return task

    def _one_talker(self, model: Transducer, inputs: RecipeInputs) -> TransducerTask:
        source = TransducerData(
            train=inputs.train,
            dev=inputs.dev,
            noise=inputs.noise,
            tokenizer=inputs.tokenizer,
            fbank=self.features,
            data=self.data,
            augment=self.augment,
        )
        figures = None
        if self.decode is not None:
            build_search(model, self.decode)  # an unsuitable search fails before the training
            count = self.train.dev_wer_utts
            figures = dev_wer(inputs.dev, count, inputs.tokenizer, self.features, self.decode)
        return TransducerTask(model, source, self.train, figures)

    def _weighted(self, task: TransducerTask, data: Path) -> Task[Any]:
        """Return the task with the weights of `group_dro`, if it is given."""
        if self.group_dro is None:
            return task
        column = self.group_dro.groups
        table = read_speakers(_speaker_table(data), "train")
        columns = {name for row in table.values() for name in row}
        if column not in columns:
            raise ConfigError(
                f"group_dro.groups: {_speaker_table(data)} has no column {column}",
                f"choose one of {', '.join(sorted(columns))}",
            )
        group_of = {
            cut.id: table.get(cut.supervisions[0].speaker, {}).get(column) or "unknown"
            for cut in task.source.train
        }
        rule = GroupDroWeights(group_of, self.group_dro, self.train.seed)
        logger.info("group DRO on %s: %s", column, ", ".join(rule.names))
        return Weighted(task, rule)

    def _talkers(
        self,
        model: Transducer,
        inputs: RecipeInputs,
        mixtures: MixtureConfig,
        style: TurnStyle,
        data: Path,
    ) -> TalkerTask:
        bounds = replace(self.data, max_frames=mixtures.max_frames, max_tokens=mixtures.max_tokens)
        train = MixtureTrainingSet(
            inputs.train,
            mixtures,
            MixtureFormat(inputs.tokenizer, self.features, style),
            bounds,
            self.augment,
            model.encoder.subsampling,
        )
        dev = read_cuts(_dev_mixtures(data), "make the mixtures first: python -m asrlib mixtures")
        config = self.train
        source = RecipeMixtures(train, dev, bounds.max_frames, config.seed, config.num_workers)
        return TalkerTask(model, source, config)


def _for_mixtures(recipe: Recipe) -> tuple[Recipe, MixtureConfig]:
    """Return the recipe with the training settings of conf/mixtures.yaml, and the mixtures."""
    mixtures = recipe.config(MixtureConfig, "mixtures")
    recipe = with_values(recipe, "mixtures", "train", TrainConfig, mixtures.train)
    return recipe, replace(mixtures, train={})  # its settings are now in the section `train`


def _speaker_table(data: Path) -> Path:
    return data / "speakers.tsv"


def _dev_mixtures(data: Path) -> Path:
    return data / "mix_dev" / "cuts.jsonl.gz"

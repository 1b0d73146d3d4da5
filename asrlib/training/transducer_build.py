"""Build the task of a transducer, of one talker or several, from a recipe's configuration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

from lhotse import CutSet
from typing_extensions import Self

from asrlib.cohort_file import COHORTS_FILE, read_cohort_map
from asrlib.data.augment import AugmentConfig
from asrlib.data.cuts import read_cuts
from asrlib.data.membership import MEMBERSHIP, Membership, MembershipConfig
from asrlib.data.mixture_dataset import MixtureFormat, MixtureTrainingSet
from asrlib.data.mixtures import MixtureConfig
from asrlib.data.raw import TRAIN_SET
from asrlib.data.sampler import DataConfig
from asrlib.data.source_symbols import SourceSymbols
from asrlib.errors import ConfigError
from asrlib.features.fbank import FbankConfig
from asrlib.recipe import Recipe
from asrlib.scoring.groups import UNKNOWN
from asrlib.scoring.records import speaker_column
from asrlib.searches import SearchName
from asrlib.streaming.decode_files import decode_files, located
from asrlib.streaming.settings import DecodeConfig, build_search
from asrlib.text.tokenizer import Tokenizer
from asrlib.text.turn_labels import TurnStyle
from asrlib.training.build import Configs, with_values
from asrlib.training.config import (
    HARMLESS_DATA_KEYS,
    HARMLESS_DECODING_KEYS,
    HARMLESS_MEMBERSHIP_KEYS,
    TrainConfig,
)
from asrlib.training.dev_wer import dev_wer
from asrlib.training.item_weights import COHORTS, OFF, GroupDroConfig, GroupDroWeights, Weighted
from asrlib.training.talker_task import RecipeMixtures, TalkerTask
from asrlib.training.task import Task
from asrlib.training.training_inputs import RecipeInputs, input_files, read_inputs
from asrlib.training.transducer_task import TransducerData, TransducerTask
from asrlib.transducer.model import Transducer, TransducerConfig
from asrlib.transducer.model_io import load_start

logger = logging.getLogger(__name__)

_TAKEN = {
    "all": "all of its weights",
    "encoder": "its encoder with the feature statistics; all other weights are new",
}


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
        membership: cohorts of the speakers if the encoder takes a condition, else None.
        group_dro: settings of group DRO; None if no groups are named.
    """

    model: TransducerConfig
    data: DataConfig
    augment: AugmentConfig
    features: FbankConfig
    decode: DecodeConfig | None = None
    mixtures: MixtureConfig | None = None
    membership: MembershipConfig | None = None
    group_dro: GroupDroConfig | None = None

    HARMLESS: ClassVar[Mapping[str, frozenset[str]]] = {
        **Configs.HARMLESS,
        "decode": HARMLESS_DECODING_KEYS,
        "membership": HARMLESS_MEMBERSHIP_KEYS,
        "data": HARMLESS_DATA_KEYS,
    }

    @classmethod
    def of(cls, recipe: Recipe, model: str) -> Self:
        mixtures = None
        if recipe.config(TransducerConfig, "model", model).turn_style is not None:
            recipe, mixtures = _for_mixtures(recipe)
        configs = super().of(recipe, model)
        decode = recipe.config(DecodeConfig, "decode") if configs.train.dev_wer_utts else None
        membership = recipe.config(MembershipConfig, "membership")
        group_dro = recipe.config(GroupDroConfig, "group_dro")
        if group_dro.groups == OFF:
            group_dro = None
        elif mixtures is not None:
            raise ConfigError(
                f"group_dro.groups: {group_dro.groups}, but a mixture has several talkers",
                "set group_dro.groups=none for models of several talkers",
            )
        return replace(
            configs,
            decode=decode,
            mixtures=mixtures,
            membership=_checked_membership(configs.model, membership),
            group_dro=group_dro,
        )

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
        files = input_files(data, self.data.tokens(data))
        if self.mixtures is not None:
            files = (*files, _dev_mixtures(data))
        if self.membership is not None:
            files = (*files, self.membership.file(data.parent))
        if self.group_dro is not None:
            known = self.group_dro.groups == COHORTS
            groups = self._cohort_dir(data) / COHORTS_FILE if known else _speaker_table(data)
            files = (*files, groups)
        tokens = self.data.tokens(data)
        if tokens.is_file() and Tokenizer.from_file(tokens).sources:
            files = (*files, _speaker_table(data))
        if self.decode is not None:
            files = (*files, *decode_files(self.decode, data.parent).values())
        return files

    def build_task(self, data: Path, init: Path | None) -> Task[Any]:
        inputs = read_inputs(data, self.data.tokens(data))
        model = Transducer(self.model, self.features.num_bins, inputs.tokenizer.vocab_size)
        model.encoder.norm.set_stats(inputs.mean_F, inputs.std_F)
        logger.info("parameters: %s", model.parameter_counts())
        if init is not None:
            load_start(model, inputs.tokenizer, init, self.train.init_part)
            logger.info("starts from %s: %s", init, _TAKEN[self.train.init_part])
        style = self.model.turn_style
        if self.mixtures is None or style is None:  # `of` sets both to None, or neither
            return self._weighted(self._one_talker(model, inputs, data, init), data)
        return self._talkers(model, inputs, self.mixtures, style, data)

    def _read_membership(self, data: Path, inputs: RecipeInputs) -> Membership | None:
        if self.membership is None:
            return None
        directory = self.membership.file(data.parent).parent
        membership = Membership.read(directory, self.membership.unknown)
        membership.check_training(inputs.train)
        return membership

    def _one_talker(
        self, model: Transducer, inputs: RecipeInputs, data: Path, init: Path | None
    ) -> TransducerTask:
        source = self._source(inputs, self._read_membership(data, inputs), data)
        return TransducerTask(
            model, source, self.train, self._figures(model, inputs.dev, source, data.parent)
        )

    def _source(
        self, inputs: RecipeInputs, membership: Membership | None, data: Path
    ) -> TransducerData:
        return TransducerData(
            train=inputs.train,
            dev=inputs.dev,
            noise=inputs.noise,
            tokenizer=inputs.tokenizer,
            fbank=self.features,
            data=self.data,
            augment=self.augment,
            membership=membership,
            sources=_source_symbols(inputs, data, self.data.unknown_source),
        )

    def _figures(
        self, model: Transducer, dev: CutSet, source: TransducerData, folder: Path
    ) -> Callable[[Transducer], dict[str, float]] | None:
        """Return a function that decodes utterances of `dev`; None if none are to be decoded."""
        if self.decode is None:
            return None
        # An unsuitable search fails before the training.
        decode = located(self.decode, folder)
        build_search(model, source.tokenizer, decode)
        return dev_wer(
            dev,
            self.train.dev_wer_utts,
            source.tokenizer,
            self.features,
            decode,
            source.membership,
        )

    def _weighted(self, task: TransducerTask, data: Path) -> Task[Any]:
        """Return the task with the weights of `group_dro`, if it is given."""
        if self.group_dro is None:
            return task
        groups = self.group_dro.groups
        if groups == COHORTS:
            known: Mapping[str, str] = read_cohort_map(self._cohort_dir(data)).cohorts
        else:
            known = speaker_column(_speaker_table(data), TRAIN_SET, groups, "group_dro.groups")
        group_of: dict[str, str] = {}
        seconds: dict[str, float] = {}
        for cut, often in task.training_items():
            group_of[cut.id] = known.get(cut.supervisions[0].speaker or "") or UNKNOWN
            seconds[cut.id] = seconds.get(cut.id, 0.0) + often * cut.duration
        rule = GroupDroWeights(group_of, self.group_dro, self.train.seed, seconds)
        logger.info("group DRO on %s: %s", groups, ", ".join(rule.names))
        return Weighted(task, rule)

    def _cohort_dir(self, data: Path) -> Path:
        """Return the directory of the cohorts that are the groups of group DRO.

        Raises:
            ConfigError: no section names one.
        """
        if self.membership is None:
            raise ConfigError(
                "group_dro.groups: cohorts, but no cohorts are known",
                "set mitigation.cohorts.directory, or choose a column of data/speakers.tsv",
            )
        return self.membership.file(data.parent).parent

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


def _checked_membership(
    model: TransducerConfig, membership: MembershipConfig
) -> MembershipConfig | None:
    """Return the settings of memberships if the encoder takes them, else None.

    Raises:
        ConfigError: the encoder's condition cannot be a membership.
    """
    condition = model.encoder.condition
    if not condition:
        return None
    if model.turn_style is not None:
        raise ConfigError(
            f"encoder.condition: {condition}, but the talkers of a mixture may be of different"
            " cohorts",
            "set model.encoder.condition=0",
        )
    if condition != len(MEMBERSHIP):
        raise ConfigError(
            f"encoder.condition: {condition}, but a membership has {len(MEMBERSHIP)} values",
            f"set model.encoder.condition={len(MEMBERSHIP)}",
        )
    return membership


def _speaker_table(data: Path) -> Path:
    return data / "speakers.tsv"


def _source_symbols(inputs: RecipeInputs, data: Path, unknown: float) -> SourceSymbols | None:
    """Return the first symbol of each speaker; None if the tokens have no sources."""
    tokenizer, table = inputs.tokenizer, _speaker_table(data)
    if not tokenizer.sources:
        return None
    told = speaker_column(table, TRAIN_SET, tokenizer.source_column, "tokens.sources")
    symbols = {
        speaker: tokenizer.first_symbol(source)
        for speaker, source in told.items()
        if source in tokenizer.sources
    }
    logger.info("the predictor is told the source: %s", ", ".join(tokenizer.sources))
    return SourceSymbols(symbols, unknown)


def _dev_mixtures(data: Path) -> Path:
    return data / "mix_dev" / "cuts.jsonl.gz"

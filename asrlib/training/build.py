"""Build a trainer from a recipe's configuration, for models of any task.

The key `task` of `conf/model/MODEL.yaml` names the kind of model, and `TASKS` names the class that
can train it. This class, a subclass of `Configs`, lists the sections of `conf/` that decide the
result and the files that training reads, and it builds the `Task`. The trainer and
`python -m asrlib train` know nothing else about models.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_args, get_type_hints

import torch
from typing_extensions import Self

from asrlib.config import from_dict, to_dict
from asrlib.errors import ConfigError
from asrlib.recipe import Recipe
from asrlib.stamps import hash_file
from asrlib.training.config import FINISHED_KEYS, HARMLESS_KEYS, TrainConfig, without
from asrlib.training.ranks import ALONE, Ranks
from asrlib.training.task import Task
from asrlib.training.trainer import Trainer
from asrlib.training.training_inputs import input_names

# The `Configs` of each task as "module:class". It is imported only for a model of that task.
TASKS: dict[str, str] = {
    "speaker": "asrlib.training.speaker_build:SpeakerConfigs",
    "transducer": "asrlib.mitigation.build:MitigatedConfigs",
}


@dataclass(frozen=True, kw_only=True)
class Configs(ABC):
    """All settings that decide the result of a training: a field for each section of `conf/`.

    A task defines a subclass with the config class of its model and a field for each further
    section that it reads. A field may be None if only some models of the task read its section:
    `of` then sets it to None, and the subclass loads it where it is needed.

    Attributes:
        model: settings of the model. Their class has a field `task: Literal["..."]`, the name of
            the task in `TASKS`.
        train: settings of the trainer.
    """

    model: Any
    train: TrainConfig

    # Keys of each section that a resumed run may change, because they do not affect the result.
    HARMLESS: ClassVar[Mapping[str, frozenset[str]]] = {"train": HARMLESS_KEYS}

    @abstractmethod
    def input_files(self, data: Path) -> tuple[Path, ...]:
        """List the files of the recipe that decide the result, most of them in `data`.

        Files that do not exist are listed too.
        """

    @abstractmethod
    def build_task(self, data: Path, init: Path | None) -> Task[Any]:
        """Build a new model with its data and its loss.

        The weights are drawn from torch's global random generator in its present state.

        Args:
            data: the recipe's data directory.
            init: a finished model to start from; the task decides which models are allowed.

        Raises:
            UserError: a file is missing, broken, or does not fit the configuration.
        """

    @classmethod
    def of(cls, recipe: Recipe, model: str) -> Self:
        """Load the sections of a recipe's configuration.

        Raises:
            ConfigError: a key is unknown or has a wrong value; the message names the key and its
                file or override.
        """
        configs = cls(
            **{
                section: recipe.config(kind, section, model if section == "model" else None)
                for section, (kind, optional) in cls._kinds().items()
                if not optional
            }
        )
        if configs.train.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("train.device: cuda, but torch sees no GPU", "set train.device=cpu")
        return configs

    @classmethod
    def of_sections(cls, sections: Mapping[str, Any], source: str) -> Self:
        """Return what `sections` returned, also of an older version, whose new keys are defaults.

        Args:
            sections: nested dicts.
            source: where they come from, for messages.

        Raises:
            ConfigError: a section is missing, or a key is unknown or has a wrong value.
        """
        configs = {}
        for section, (kind, optional) in cls._kinds().items():
            if section not in sections and not optional:
                raise ConfigError(f"{source}: no section {section}", "train the model again")
            held = sections.get(section)
            configs[section] = None if held is None else from_dict(kind, held, source)
        return cls(**configs)

    @classmethod
    def _kinds(cls) -> dict[str, tuple[type, bool]]:
        """Return the config class of each section, and whether the section may be None."""
        hints = get_type_hints(cls)
        kinds = {}
        for field in dataclasses.fields(cls):
            kind = hints[field.name]
            optional = type(None) in get_args(kind)
            if optional:
                (kind,) = (member for member in get_args(kind) if member is not type(None))
            kinds[field.name] = (kind, optional)
        return kinds

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return the sections that this training reads, as nested dicts of plain values."""
        configs = {section: getattr(self, section) for section in self._kinds()}
        return {section: to_dict(c) for section, c in configs.items() if c is not None}

    def of_a_result(self) -> dict[str, Any]:
        """Return the settings that a finished model depends on."""
        sections = self.decisive(self.sections())
        train = {k: v for k, v in sections["train"].items() if k not in FINISHED_KEYS}
        return {**sections, "train": train}

    def identity(self, data: Path, init: Path | None = None) -> dict[str, Any]:
        """Return what must not change when a run is resumed: settings, and hashes of its files."""
        names = input_names(data, self.input_files(data))
        hashes = {name: hash_file(path) for path, name in names.items()}
        if init is not None:
            hashes["init"] = hash_file(init)
        return self.decisive({**self.sections(), "input": hashes})

    @classmethod
    def decisive(cls, identity: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the sections without the keys that do not affect the result."""
        return {
            section: without(values, cls.HARMLESS.get(section, ()))
            for section, values in identity.items()
        }

    @classmethod
    def upgrade(cls, identity: dict[str, Any]) -> dict[str, Any]:
        """Add the defaults of new keys to the identity of a run of an older version."""
        # A key that no longer exists makes the identities differ, which the caller reports.
        with contextlib.suppress(ConfigError):
            filled = {
                section: to_dict(from_dict(kind, identity[section]))
                for section, (kind, _) in cls._kinds().items()
                if section in identity
            }
            return cls.decisive({**identity, **filled})
        return identity


def load_configs(recipe: Recipe, model: str) -> Configs:
    """Load the configuration of a model, as the `Configs` of its task.

    Raises:
        ConfigError: the model or task does not exist, or a key is unknown or has a wrong type.
    """
    return pkgutil.resolve_name(TASKS[recipe.task(model, TASKS)]).of(recipe, model)


def with_values(
    recipe: Recipe, section: str, target: str, kind: type, values: Mapping[str, Any]
) -> Recipe:
    """Return the recipe with the values that one section of `conf/` sets for another one.

    For example conf/mixtures.yaml holds under `train` what replaces values of conf/train.yaml in
    the training of models of several talkers. An override of the command line replaces both.

    Args:
        recipe: the recipe.
        section: the section that holds the values, under the key `target`.
        target: the section whose values are replaced.
        kind: config class of `target`.
        values: the values.

    Raises:
        ConfigError: a key is not one of `target`.
    """
    unknown = sorted(set(values).difference(f.name for f in dataclasses.fields(kind)))
    if unknown:
        raise ConfigError(
            f"{section}.{target}: no key {unknown[0]} in conf/{target}.yaml",
            f"fix its name in conf/{section.partition('.')[0]}.yaml",
        )
    usual = (f"{target}.{key}={json.dumps(value)}" for key, value in values.items())
    return replace(recipe, overrides=(*usual, *recipe.overrides))


def build_trainer(
    configs: Configs,
    directory: Path,
    data: Path,
    init: Path | None = None,
    ranks: Ranks = ALONE,
) -> Trainer[Any]:
    """Build the trainer of a new model, whose weights are drawn from the configured seed.

    Args:
        configs: all settings of the training.
        directory: directory for the outputs of the training.
        data: the recipe's data directory.
        init: a finished model to start from.
        ranks: this process as one of several that train together.

    Raises:
        UserError: the task cannot be built, see `Configs.build_task`, or there is no start of
            which `train.init_part` is to be taken.
    """
    if init is None and configs.train.init_part != "all":
        raise ConfigError(
            f"train.init_part: {configs.train.init_part}, but no model is given to start from",
            "name it with --init, or set train.init_part=all",
        )
    torch.manual_seed(configs.train.seed)
    task = configs.build_task(data, init)
    identity = configs.identity(data, init)
    return Trainer(task, configs.train, directory, identity, configs.upgrade, ranks)

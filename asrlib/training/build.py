"""From a recipe's configuration to a trainer, whatever is trained.

The `task` of `conf/model/MODEL.yaml` says what a model is, and `TASKS` which class knows how to
train it. That class, a `Configs`, lists the sections of `conf/` that decide the result and the
files that training reads, and builds the `Task`. The trainer and `python -m asrlib train` know
this much and no model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args, get_type_hints

import torch
from typing_extensions import Self

from asrlib.config import from_dict, to_dict
from asrlib.errors import ConfigError
from asrlib.recipe import Recipe
from asrlib.stamps import hash_file
from asrlib.training.config import FINISHED_KEYS, HARMLESS_KEYS, TrainConfig
from asrlib.training.task import Task
from asrlib.training.trainer import Trainer

# Each task's `Configs`, as "module:class": imported only when a model is of that task.
TASKS: dict[str, str] = {
    "transducer": "asrlib.training.transducer_build:TransducerConfigs",
}


@dataclass(frozen=True, kw_only=True)
class Configs(ABC):
    """All that decides the result of a training: one field for each section of `conf/` it reads.

    A task derives from this, with the config class of its model and a field for each section of
    its own. A field that may be None is a section that not all of its models read: `of` leaves it
    None, and the derived class loads it where it is needed.

    Attributes:
        model: of a config class with a field `task: Literal["..."]`, the task's name in `TASKS`.
        train: read by the trainer.
    """

    model: Any
    train: TrainConfig

    # Keys of each section that a continued run may change: they do not touch the result.
    HARMLESS: ClassVar[Mapping[str, frozenset[str]]] = {"train": HARMLESS_KEYS}

    @abstractmethod
    def input_files(self, data: Path) -> tuple[Path, ...]:
        """The files in the recipe's data directory that decide what is trained, there or not."""

    @abstractmethod
    def build_task(self, data: Path, init: Path | None) -> Task[Any]:
        """A fresh model, with weights from torch's generator as it stands, its data and its loss.

        Args:
            init: a finished model to start from; what that may be is the task's matter.

        Raises:
            UserError: a file is missing, broken, or does not fit the configuration.
        """

    @classmethod
    def of(cls, recipe: Recipe, model: str) -> Self:
        """Load the sections of a recipe's configuration.

        Raises:
            ConfigError: names the file or the override, and the key.
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
    def _kinds(cls) -> dict[str, tuple[type, bool]]:
        """The config class of each section, and whether the section may be None."""
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
        """Plain values of the sections that this training reads."""
        configs = {section: getattr(self, section) for section in self._kinds()}
        return {section: to_dict(c) for section, c in configs.items() if c is not None}

    def of_a_result(self) -> dict[str, Any]:
        """What a finished model depends on."""
        sections = self.decisive(self.sections())
        train = {k: v for k, v in sections["train"].items() if k not in FINISHED_KEYS}
        return {**sections, "train": train}

    def identity(self, data: Path, init: Path | None = None) -> dict[str, Any]:
        """What must not change when a run is continued: sections, and hashes of what it reads."""
        hashes = {f"data/{p.relative_to(data)}": hash_file(p) for p in self.input_files(data)}
        if init is not None:
            hashes["init"] = hash_file(init)
        return self.decisive({**self.sections(), "input": hashes})

    @classmethod
    def decisive(cls, identity: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Sections without the keys that do not touch the result."""
        return {
            section: {k: v for k, v in values.items() if k not in cls.HARMLESS.get(section, ())}
            for section, values in identity.items()
        }

    @classmethod
    def upgrade(cls, identity: dict[str, Any]) -> dict[str, Any]:
        """An older version's identity, with the defaults of keys that it did not know."""
        with contextlib.suppress(ConfigError):  # it knew keys that are gone: a difference
            filled = {
                section: to_dict(from_dict(kind, identity[section]))
                for section, (kind, _) in cls._kinds().items()
                if section in identity
            }
            return cls.decisive({**identity, **filled})
        return identity


def load_configs(recipe: Recipe, model: str) -> Configs:
    """The configuration of a model, of the class that its task names.

    Raises:
        ConfigError: no such model or task, or a key that is unknown or ill-typed.
    """
    return pkgutil.resolve_name(TASKS[recipe.task(model, TASKS)]).of(recipe, model)


def build_trainer(
    configs: Configs, directory: Path, data: Path, init: Path | None = None
) -> Trainer[Any]:
    """The trainer of a fresh model, whose weights are drawn from the configured seed.

    Args:
        directory: gets what training leaves.
        data: the recipe's data directory.
        init: a finished model to start from.

    Raises:
        UserError: as `Configs.build_task`.
    """
    torch.manual_seed(configs.train.seed)
    task = configs.build_task(data, init)
    identity = configs.identity(data, init)
    return Trainer(task, configs.train, directory, identity, configs.upgrade)

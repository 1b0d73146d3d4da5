"""What a training is told that its plan varies on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from asrlib.config import split_override
from asrlib.errors import ConfigError
from asrlib.recipe import Recipe
from asrlib.training.build import Configs, load_configs


def told_factors(
    factors: Sequence[str], configs: Configs, recipe: Recipe, model: str
) -> dict[str, Any]:
    """Return the value of each factor by its key, as `--factor` tells them.

    Args:
        factors: `section.key=value`, of keys that the training reads.
        configs: the training's settings, of `recipe` with its overrides and of `model`.

    Raises:
        ConfigError: the training has another value, or the key does not exist.
    """
    values = dict(split_override(factor) for factor in factors)
    for factor, key in zip(factors, values, strict=True):
        # Compared as configurations, because an item of a list may leave out what has a default.
        told = replace(recipe, overrides=(*recipe.overrides, factor))
        found = value_of(configs.sections(), key)
        if value_of(load_configs(told, model).sections(), key) != found:
            raise ConfigError(
                f"--factor {factor}: the training has {key}: {found}", f"give --set {factor} too"
            )
    return values


def value_of(sections: Mapping[str, Any], key: str) -> Any:
    """The value of `section.key` of a training's settings.

    Raises:
        ConfigError: no section that the training reads has such a key.
    """
    found: Any = sections
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise ConfigError(
                f"factor {key}: the training of this model reads no such key",
                f"choose a key of the sections {', '.join(sorted(sections))}",
            )
        found = found[part]
    return found

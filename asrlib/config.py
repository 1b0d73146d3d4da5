"""YAML in `conf/` onto typed, frozen dataclasses, and nothing else.

Each component owns a config dataclass beside its class, declared with `@configclass`. A recipe's
`conf/` overlays the project's key by key, and `--set section.key=value` overlays both. An unknown
or ill-typed key is an error that names the file, the key and the nearest valid one.

A choice among components (an encoder, a predictor) is a union of config dataclasses, each with a
`name: Literal["..."]` field, declared as `Annotated[A | B, Field(discriminator="name")]`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import pydantic
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import dataclass_transform

from asrlib.errors import ConfigError

T = TypeVar("T")

_STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(pydantic.Field,))
def configclass(cls: type[T]) -> type[T]:
    """Declare a frozen, keyword-only, validated config dataclass."""
    return pydantic_dataclass(cls, frozen=True, kw_only=True, config=_STRICT)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested dict of a config dataclass: what a checkpoint carries."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(cls: type[T], values: Mapping[str, Any], source: str = "config") -> T:
    """Validate plain values into `cls`.

    Raises:
        ConfigError: an unknown, missing or ill-typed key; names `source`.
    """
    return _validate(cls, dict(values), [(source, dict(values))])


def load_config(
    cls: type[T], section: str, files: Sequence[Path], overrides: Sequence[str] = ()
) -> T:
    """Merge `files` in order (absent ones are skipped), then the overrides of this section.

    Args:
        section: the first part of an override's key: `train` for `train.peak_lr=0.001`.
        overrides: `section.key=value` strings; those of other sections are ignored here.

    Raises:
        ConfigError: names the file or override, the key and the nearest valid key.
    """
    layers = [(str(path), _read_yaml(path)) for path in files if path.exists()]
    for override in overrides:
        key, sep, _ = override.partition("=")
        if not sep or "." not in key:
            raise ConfigError(
                f"--set {override}: not of the form section.key=value",
                "write for example --set train.peak_lr=0.001",
            )
        if key.split(".")[0] == section:
            layers.append((f"--set {override}", _parse_override(override)))
    merged = OmegaConf.merge(*[OmegaConf.create(values) for _, values in layers])
    return _validate(cls, OmegaConf.to_container(merged, resolve=True), layers)


def _parse_override(override: str) -> dict[str, Any]:
    tail = override.split(".", 1)[1]
    return OmegaConf.to_container(OmegaConf.from_dotlist([tail]))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: not readable as YAML: {e}", "mend the syntax") from e
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no mapping of keys to values", "write `key: value` lines")
    return values


def _validate(cls: type[T], values: dict, layers: Sequence[tuple[str, dict]]) -> T:
    try:
        # JSON mode: mappings may become dataclasses and lists tuples, all else stays strict.
        return pydantic.TypeAdapter(cls).validate_json(json.dumps(values))
    except pydantic.ValidationError as e:
        raise _explain(cls, e.errors()[0], values, layers) from None


def _explain(
    cls: type, error: dict, values: dict, layers: Sequence[tuple[str, dict]]
) -> ConfigError:
    keys = _strip_tags(error["loc"], values)
    dotted = ".".join(str(k) for k in keys) or "(top)"
    source = next((name for name, layer in reversed(layers) if _contains(layer, keys)), None)
    source = source or (layers[-1][0] if layers else "config")
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        valid = _field_names(cls, error["loc"][:-1])
        near = difflib.get_close_matches(str(keys[-1]), valid, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"valid keys are {', '.join(valid)}"
        return ConfigError(f"{source}: unknown key {dotted}", hint)
    message = error["msg"][0].lower() + error["msg"][1:]
    given = "" if error["type"].startswith("missing") else f", not {error['input']!r}"
    return ConfigError(f"{source}: key {dotted}: {message}{given}", "give a valid value")


def _strip_tags(loc: Sequence[Any], values: Any) -> list[Any]:
    """Drop the union tags that pydantic puts into an error's location."""
    keys: list[Any] = []
    for i, part in enumerate(loc):
        inside = isinstance(values, Mapping) and part in values
        inside = inside or (isinstance(values, list) and isinstance(part, int))
        if inside or i == len(loc) - 1:
            keys.append(part)
        if inside:
            values = values[part]
    return keys


def _contains(layer: Any, keys: Sequence[Any]) -> bool:
    for key in keys:
        indexed = isinstance(layer, list) and isinstance(key, int) and key < len(layer)
        if not indexed and not (isinstance(layer, Mapping) and key in layer):
            return False
        layer = layer[key]
    return True


def _field_names(cls: Any, loc: Sequence[Any]) -> list[str]:
    """Names of the fields valid at `loc` inside `cls`, union tags followed."""
    for part in loc:
        if dataclasses.is_dataclass(cls):
            cls = typing.get_type_hints(cls, include_extras=True).get(str(part))
        else:
            cls = next((m for m in _members(cls) if _tag(m) == part), None)
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def _members(hint: Any) -> list[Any]:
    """Dataclasses among the members of a (possibly annotated) union."""
    if get_origin(hint) is typing.Annotated:
        hint = get_args(hint)[0]
    return [m for m in get_args(hint) if dataclasses.is_dataclass(m)]


def _tag(cls: Any) -> str | None:
    hint = typing.get_type_hints(cls).get("name")
    return get_args(hint)[0] if get_origin(hint) is Literal else None

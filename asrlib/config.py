"""YAML in `conf/` onto typed, frozen dataclasses, and nothing else.

Each component owns a config dataclass beside its class, declared with `@configclass`. A recipe's
`conf/` overlays the project's key by key, and `--set section.key=value` overlays both. An unknown
or ill-typed key is an error that names the file, the key and the nearest valid one.

A choice among components (an encoder, a predictor) is a union of config dataclasses, each with a
`name: Literal["..."]` field, declared as `Annotated[A | B, Field(discriminator="name")]`. Where
the members are not known when a class is defined (the tasks of `asrlib.training.build`),
`load_choice` reads the key that says which class the rest is to be loaded as.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

import pydantic
import yaml
from omegaconf import Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import ErrorDetails
from typing_extensions import dataclass_transform

from asrlib.errors import ConfigError

T = TypeVar("T")

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(pydantic.Field,))
def configclass(cls: type[T]) -> type[T]:
    """Declare a frozen, keyword-only, validated config dataclass."""
    # What comes back is the class itself, of which pydantic's stubs tell only what it gains.
    return cast(type[T], pydantic_dataclass(cls, frozen=True, kw_only=True, config=_STRICT))


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested dict of a config dataclass: what a checkpoint carries."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


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
    return _merge(cls, section, layers, overrides)


def load_named(
    cls: type[T], section: str, name: str, folders: Sequence[Path], overrides: Sequence[str] = ()
) -> T:
    """As `load_config`, of `<section>/<name>.yaml` in each of `folders`, in order.

    A file may say `base: OTHER`: the files of that name come first, so that a variant holds only
    what differs.

    Raises:
        ConfigError: as `load_config`; also where bases go round in a circle or are missing.
    """
    layers = _based_layers(section, name, folders, ())
    return _merge(cls, section, layers, overrides)


def load_choice(
    key: str,
    choices: Collection[str],
    default: str,
    section: str,
    name: str,
    folders: Sequence[Path],
    overrides: Sequence[str] = (),
) -> str:
    """The value of one top key of a file that `load_named` reads, ahead of all others.

    For a key that says which class the file is of: the class is known only after it is read.

    Args:
        choices: what the value may be.
        default: the value where the key is missing.

    Raises:
        ConfigError: the value is none of `choices`, names the file or the override; also as
            `load_named`, but for keys and types.
    """
    layers = _based_layers(section, name, folders, ())
    value = _merged(section, layers, overrides).get(key, default)
    if isinstance(value, str) and value in choices:
        return value
    source = next((layer for layer, values in reversed(layers) if key in values), section)
    raise ConfigError(f"{source}: key {key}: no {value}", _suggest(str(value), sorted(choices)))


def _based_layers(
    section: str, name: str, folders: Sequence[Path], children: tuple[str, ...]
) -> list[tuple[str, dict[str, Any]]]:
    files = [path for f in folders if (path := f / section / f"{name}.yaml").exists()]
    if not files:
        known = {
            path.relative_to(folder / section).with_suffix("").as_posix()
            for folder in folders
            for path in (folder / section).rglob("*.yaml")
        }
        wanted = f"{folders[0] / section / name}.yaml"
        raise ConfigError(
            f"{wanted}: no such {section}" + (f", the base of {children[-1]}" if children else ""),
            f"choose one of {', '.join(sorted(known))}",
        )
    layers = [(str(path), _read_yaml(path)) for path in files]
    bases = [base for _, values in layers if (base := values.pop("base", None)) is not None]
    if not bases:
        return layers
    if bases[-1] in (*children, name):
        raise ConfigError(
            f"{files[-1]}: base: {bases[-1]} leads back to itself", "choose another base"
        )
    return _based_layers(section, str(bases[-1]), folders, (*children, name)) + layers


def _merge(
    cls: type[T],
    section: str,
    layers: list[tuple[str, dict[str, Any]]],
    overrides: Sequence[str],
) -> T:
    return _validate(cls, _merged(section, layers, overrides), layers)


def _merged(
    section: str, layers: list[tuple[str, dict[str, Any]]], overrides: Sequence[str]
) -> dict[str, Any]:
    """The values of `layers`, to which those overrides are added that are of this section."""
    for override in overrides:
        if _section(override) == section:
            layers.append((f"--set {override}", _parse_override(override)))
    names = ", ".join(name for name, _ in layers)
    try:
        merged = OmegaConf.merge({}, *[OmegaConf.create(values) for _, values in layers])
        return _plain(merged, names, resolve=True)
    except OmegaConfBaseException as e:
        raise ConfigError(f"{names}: {_one_line(e)}", "fix the value that it names") from e


def check_sections(overrides: Sequence[str], sections: Collection[str]) -> None:
    """See that every override is of a section that exists; `load_config` looks at its own only.

    Raises:
        ConfigError: names the override and the nearest section.
    """
    for override in overrides:
        section = _section(override)
        if section not in sections:
            raise ConfigError(
                f"--set {override}: no section {section}", _suggest(section, sorted(sections))
            )


def split_override(override: str) -> tuple[str, Any]:
    """Key and plain value of `section.key=value`.

    Raises:
        ConfigError: it is not of that form, or the value is no YAML.
    """
    _section(override)
    values: Any = _parse_override(override)
    key = override.partition("=")[0]
    for part in key.split(".")[1:]:
        values = values[part]
    return key, values


def _section(override: str) -> str:
    key, sep, _ = override.partition("=")
    section, dot, tail = key.partition(".")
    if not (sep and dot and section and tail):
        raise ConfigError(
            f"--set {override}: not of the form section.key=value",
            "write for example --set train.peak_lr=0.001",
        )
    return section


def _parse_override(override: str) -> dict[str, Any]:
    try:
        values = OmegaConf.from_dotlist([override.split(".", 1)[1]])
        return _plain(values, f"--set {override}")
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as e:
        raise ConfigError(
            f"--set {override}: not readable as YAML: {_one_line(e)}", "fix the value"
        ) from e


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        return _plain(OmegaConf.load(path), str(path))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError) as e:
        raise ConfigError(f"{path}: not readable as YAML: {_one_line(e)}", "fix the syntax") from e


def _plain(config: Container, source: str, resolve: bool = False) -> dict[Any, Any]:
    """Plain values of what omegaconf read from `source`."""
    values = OmegaConf.to_container(config, resolve=resolve)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source}: holds no mapping of keys to values", "write `key: value` lines"
        )
    return values


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _validate(cls: type[T], values: dict, layers: Sequence[tuple[str, dict]]) -> T:
    try:
        # JSON mode: mappings may become dataclasses and lists tuples, all else stays strict.
        return pydantic.TypeAdapter(cls).validate_json(json.dumps(values))
    except pydantic.ValidationError as e:
        # A misspelt key is also a missing one: name the misspelling.
        errors = sorted(e.errors(), key=lambda error: error["type"] not in _UNKNOWN)
        raise _explain(cls, errors[0], values, layers) from None
    except TypeError as e:
        names = ", ".join(name for name, _ in layers)
        raise ConfigError(f"{names}: {_one_line(e)}", "use plain YAML values") from e


def _explain(
    cls: type, error: ErrorDetails, values: dict, layers: Sequence[tuple[str, dict]]
) -> ConfigError:
    keys = _keys(cls, error, values)
    dotted = ".".join(map(str, keys)) or "(top)"
    # The layer that set the value, the last one when several did; a missing one, the first file.
    order = layers if error["type"].startswith("missing") else layers[::-1]
    source = max(order, key=lambda layer: _depth(layer[1], keys), default=("config",))[0]
    if error["type"] in _UNKNOWN:
        hint = _suggest(str(keys[-1]), _field_names(cls, error["loc"][:-1]))
        return ConfigError(f"{source}: unknown key {dotted}", hint)
    if error["type"] == "union_tag_invalid":
        tag, known = error["ctx"]["tag"], re.findall(r"'([^']*)'", error["ctx"]["expected_tags"])
        return ConfigError(f"{source}: key {dotted}.name: no {tag}", _suggest(tag, known))
    if error["type"] == "union_tag_not_found":
        return ConfigError(f"{source}: key {dotted}.name: missing", "say which by its name")
    message = (error["msg"][0].lower() + error["msg"][1:]).replace("an object", "a mapping")
    given = "" if error["type"].startswith("missing") else f", not {error['input']!r}"
    return ConfigError(f"{source}: key {dotted}: {message}{given}", "give a valid value")


def _suggest(word: str, valid: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(valid)}"


def _has(values: Any, key: Any) -> bool:
    if isinstance(values, list):
        return isinstance(key, int) and key < len(values)
    return isinstance(values, Mapping) and key in values


def _keys(hint: Any, error: ErrorDetails, values: Any) -> list[Any]:
    """The keys of an error's location, without the marks of unions that pydantic puts there."""
    loc, keys = error["loc"], []
    for i, part in enumerate(loc):
        hint, mark = _step(hint, part)
        if mark:
            continue
        absent = i == len(loc) - 1 and error["type"].startswith("missing")
        if _has(values, part) or absent:
            keys.append(part)
        if _has(values, part):
            values = values[part]
    return keys


def _depth(layer: Any, keys: Sequence[Any]) -> int:
    """How many of `keys`, from the first, lead into `layer`."""
    for i, key in enumerate(keys):
        if not _has(layer, key):
            return i
        layer = layer[key]
    return len(keys)


def _field_names(hint: Any, loc: Sequence[Any]) -> list[str]:
    """Names of the fields valid at `loc` inside the type `hint`."""
    for part in loc:
        hint, _ = _step(hint, part)
    return sorted({f.name for c in _dataclasses(hint) for f in dataclasses.fields(c)})


def _step(hint: Any, part: Any) -> tuple[Any, bool]:
    """The type at `part` of a location inside `hint`; and whether it is a union's mark, no key."""
    classes = _dataclasses(hint)
    tagged = [c for c in classes if part in (_tag(c), c.__name__)]
    if tagged and len(classes) > 1:
        return tagged[0], True
    if isinstance(part, int):
        return hint, False
    hints = [typing.get_type_hints(c, include_extras=True) for c in classes]
    return next((h[part] for h in hints if part in h), None), False


def _dataclasses(hint: Any) -> list[type]:
    """The dataclasses that a type hint speaks of: itself, or the members of its unions."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    return [c for member in get_args(hint) for c in _dataclasses(member)]


def _tag(cls: type) -> str | None:
    hint = typing.get_type_hints(cls).get("name")
    return get_args(hint)[0] if get_origin(hint) is Literal else None

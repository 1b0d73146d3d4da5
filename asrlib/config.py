"""Load the YAML files of `conf/` into typed, frozen dataclasses.

Each component has a config dataclass beside its class, declared with `@configclass`. The values of
a recipe's `conf/` replace those of the project's `conf/` key by key, and `--set section.key=value`
replaces both. An unknown key or a value of a wrong type is an error, whose message names the file,
the key and the nearest valid key.

A choice among components (an encoder, a predictor) is a union of config dataclasses, each with a
field `name: Literal["..."]`, declared as `Annotated[A | B, Field(discriminator="name")]`. If the
members are not known when a class is defined, as for the tasks of `asrlib.training.build`,
`load_choice` reads the key that names the class, and the caller loads the file as that class.
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

_DEEPEST = 50  # lists and maps in each other in a YAML file
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(pydantic.Field,))
def configclass(cls: type[T]) -> type[T]:
    """Declare a frozen, keyword-only, validated config dataclass."""
    # The decorator returns the class itself, but pydantic's stubs describe only what it adds.
    return cast(type[T], pydantic_dataclass(cls, frozen=True, kw_only=True, config=_STRICT))


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a config dataclass to a nested dict of plain values, as checkpoints hold it."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def from_dict(cls: type[T], values: Mapping[str, Any], source: str = "config") -> T:
    """Convert plain values to the config dataclass `cls`.

    Args:
        cls: the config dataclass.
        values: nested plain values.
        source: origin of the values, for error messages.

    Raises:
        ConfigError: a key is unknown or missing or has a wrong type; the message names `source`.
    """
    return _validate(cls, dict(values), [(source, dict(values))])


def load_config(
    cls: type[T], section: str, files: Sequence[Path], overrides: Sequence[str] = ()
) -> T:
    """Merge `files` in order (missing files are skipped), then the overrides of this section.

    Args:
        cls: the config dataclass to load.
        section: the first part of an override's key: `train` for `train.peak_lr=0.001`.
        files: the YAML files; a later file replaces the values of earlier ones.
        overrides: `section.key=value` strings; those of other sections are ignored here.

    Raises:
        ConfigError: a file cannot be read, or a key is unknown or missing or has a wrong type;
            the message names the file or override, the key and the nearest valid key.
    """
    layers = [(str(path), _read_yaml(path)) for path in files if path.exists()]
    return _merge(cls, section, layers, overrides)


def load_named(
    cls: type[T], section: str, name: str, folders: Sequence[Path], overrides: Sequence[str] = ()
) -> T:
    """Merge `<section>/<name>.yaml` of each of `folders` in order, like `load_config`.

    A file may hold `base: OTHER`. The files named OTHER are then merged first, so that a variant
    only holds the keys that differ.

    Raises:
        ConfigError: as for `load_config`; also if a base is missing or bases form a cycle.
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
    """Read one top-level key of a file before `load_named` loads the file.

    The key names the class to load the file as; all other keys are ignored here.

    Args:
        key: the key.
        choices: valid values.
        default: the value if the key is missing.

    Raises:
        ConfigError: the value is not among `choices`, and the message names the file or the
            override; or a file or base is missing or cannot be read.
    """
    layers = _based_layers(section, name, folders, ())
    value = _merged(section, layers, overrides).get(key, default)
    if isinstance(value, str) and value in choices:
        return value
    source = next((layer for layer, values in reversed(layers) if key in values), section)
    raise ConfigError(
        f"{source}: key {key}: unknown value {value}", _suggest(str(value), sorted(choices))
    )


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
    """Merge the values of `layers` and of the overrides of this section.

    The overrides are appended to `layers`.
    """
    for override in overrides:
        if _section(override) == section:
            layers.append((f"--set {override}", _parse_override(override)))
    names = ", ".join(name for name, _ in layers)
    try:
        merged = OmegaConf.merge({}, *[OmegaConf.create(values) for _, values in layers])
        return _plain(merged, names, resolve=True)
    except OmegaConfBaseException as e:
        raise ConfigError(f"{names}: {_one_line(e)}", "fix the value that is named") from e


def check_overrides(overrides: Sequence[str], sections: Mapping[str, Path | None]) -> None:
    """Check the section and the first key of every override.

    `load_config` checks the keys of one section, once a command loads it; this finds a misspelt
    one in any section.

    Args:
        overrides: `section.key=value` strings.
        sections: for each section, the file that has all of its keys; None: any key is valid.

    Raises:
        ConfigError: a section or key does not exist; the message names the override and the
            nearest one.
    """
    for override in overrides:
        section = _section(override)
        if section not in sections:
            raise ConfigError(
                f"--set {override}: no section {section}", _suggest(section, sorted(sections))
            )
        path, (key, *_) = sections[section], _parse_override(override)
        if path is not None and key not in (keys := _read_yaml(path)):
            raise ConfigError(f"--set {override}: unknown key {key}", _suggest(key, sorted(keys)))


def split_override(override: str) -> tuple[str, Any]:
    """Split `section.key=value` into `section.key` and the plain value.

    Raises:
        ConfigError: the override does not have that form, or its value is not valid YAML.
    """
    _section(override)
    values: Any = _parse_override(override)
    key = override.partition("=")[0]
    for part in key.split(".")[1:]:
        values = values[part]
    return key, values


def as_override(key: str, value: Any) -> str:
    """Return `section.key=value` as --set takes it; the inverse of `split_override`."""
    return f"{key}={json.dumps(value)}"


def _section(override: str) -> str:
    key, sep, _ = override.partition("=")
    section, dot, tail = key.partition(".")
    if not (sep and dot and section and tail):
        raise ConfigError(
            f"--set {override}: does not have the form section.key=value",
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
        _check_depth(path)
        return _plain(OmegaConf.load(path), str(path))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as e:
        raise ConfigError(f"{path}: not readable as YAML: {_one_line(e)}", "fix the syntax") from e


def _check_depth(path: Path) -> None:
    """Refuse nesting that would overflow the stack of the YAML library, which ends the process.

    Raises:
        ValueError: the file nests more than `_DEEPEST` lists and maps.
    """
    depth = 0
    with open(path, encoding="utf-8") as file:
        for event in yaml.parse(file, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ValueError(f"more than {_DEEPEST} lists or maps in each other")


def _plain(config: Container, source: str, resolve: bool = False) -> dict[Any, Any]:
    """Convert what omegaconf read from `source` to plain values."""
    values = OmegaConf.to_container(config, resolve=resolve)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source}: does not map keys to values", "write lines of the form `key: value`"
        )
    return values


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _validate(cls: type[T], values: dict, layers: Sequence[tuple[str, dict]]) -> T:
    try:
        # In JSON mode mappings become dataclasses and lists become tuples; all else is strict.
        return pydantic.TypeAdapter(cls).validate_json(json.dumps(values))
    except pydantic.ValidationError as e:
        # A misspelt key often means a missing key too; the misspelt one is reported.
        errors = sorted(e.errors(), key=lambda error: error["type"] not in _UNKNOWN)
        raise _explain(cls, errors[0], values, layers) from None
    except TypeError as e:
        names = ", ".join(name for name, _ in layers)
        raise ConfigError(f"{names}: {_one_line(e)}", "use plain YAML values") from e


def _explain(
    cls: type, error: ErrorDetails, values: dict, layers: Sequence[tuple[str, dict]]
) -> ConfigError:
    keys = _keys(cls, error, values) or list(error["loc"][-1:])  # a key may be a number in YAML
    dotted = ".".join(map(str, keys)) or "(top)"
    # The source is the last layer that sets the value, or the first file if the value is missing.
    order = layers if error["type"].startswith("missing") else layers[::-1]
    source = max(order, key=lambda layer: _depth(layer[1], keys), default=("config",))[0]
    if error["type"] in _UNKNOWN:
        hint = _suggest(str(keys[-1]), _field_names(cls, error["loc"][:-1]))
        return ConfigError(f"{source}: unknown key {dotted}", hint)
    if error["type"] == "union_tag_invalid":
        tag, known = error["ctx"]["tag"], re.findall(r"'([^']*)'", error["ctx"]["expected_tags"])
        return ConfigError(
            f"{source}: key {dotted}.name: unknown value {tag}", _suggest(tag, known)
        )
    if error["type"] == "union_tag_not_found":
        return ConfigError(f"{source}: key {dotted}.name: missing", "name the component")
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
    """Return the keys of an error's location, without the tags that pydantic adds for unions."""
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
    """Return how many of `keys`, from the first on, exist in `layer`."""
    for i, key in enumerate(keys):
        if not _has(layer, key):
            return i
        layer = layer[key]
    return len(keys)


def _field_names(hint: Any, loc: Sequence[Any]) -> list[str]:
    """Return the names of the fields that are valid at location `loc` in the type `hint`."""
    for part in loc:
        hint, _ = _step(hint, part)
    return sorted({f.name for c in _dataclasses(hint) for f in dataclasses.fields(c)})


def _step(hint: Any, part: Any) -> tuple[Any, bool]:
    """Return the type at `part` of a location in `hint`, and whether `part` is a union's tag."""
    classes = _dataclasses(hint)
    tagged = [c for c in classes if part in (_tag(c), c.__name__)]
    if tagged and len(classes) > 1:
        return tagged[0], True
    if isinstance(part, int):
        return hint, False
    hints = [typing.get_type_hints(c, include_extras=True) for c in classes]
    return next((h[part] for h in hints if part in h), None), False


def _dataclasses(hint: Any) -> list[type]:
    """Return the dataclasses in a type hint: the hint itself, or the members of its unions."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    return [c for member in get_args(hint) for c in _dataclasses(member)]


def _tag(cls: type) -> str | None:
    hint = typing.get_type_hints(cls).get("name")
    return get_args(hint)[0] if get_origin(hint) is Literal else None

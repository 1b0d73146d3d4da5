"""Trainings that are set beside each other had the same data, updates, augmentation and loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asrlib.errors import DataError
from asrlib.experiments.training_log import settings_of
from asrlib.training.config import MACHINE_KEYS

_SECTIONS = ("train", "data", "augment", "features")
_FREE = {f"train.{key}" for key in MACHINE_KEYS | {"seed"}}


def check_equal_settings(exp: Path, names: Sequence[str], apart: frozenset[str]) -> None:
    """See that the trainings exp/NAME agree in every setting but those of their encoders.

    A setting that one of them does not know, being of another version, is not compared.

    Args:
        apart: further settings that may differ, such as `train.peak_lr`.

    Raises:
        DataError: two do not; names them and the setting.
    """
    first: dict[str, tuple[str, Any]] = {}
    for name in names:
        for key, value in _settings(exp / name):
            other, theirs = first.setdefault(key, (name, value))
            if key in apart or theirs == value:
                continue
            raise DataError(
                f"exp/{name} had {key}: {value}, but exp/{other}, beside which it would stand, "
                f"{theirs}",
                "run the comparison or the sweep again with one setting, or move what is of "
                "another one out of exp/",
            )


def _settings(model_dir: Path) -> Iterator[tuple[str, Any]]:
    sections = {section: settings_of(model_dir, section) for section in _SECTIONS}
    sections["loss"] = settings_of(model_dir, "model").get("loss", {})
    for section, values in sections.items():
        for key, value in values.items():
            if f"{section}.{key}" not in _FREE:
                yield f"{section}.{key}", value

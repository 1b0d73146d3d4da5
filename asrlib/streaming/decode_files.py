"""The files that settings of decoding name: language models and hotwords."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asrlib.streaming.settings import DecodeConfig


def decode_files(config: DecodeConfig, folder: Path) -> dict[str, Path]:
    """List the files that a decoding reads besides the model and the audio, by key.

    Args:
        config: settings of decoding.
        folder: the recipe's directory, which relative paths start from.
    """
    lm, hotwords = config.lm, config.hotwords
    named = {
        "lm.path": lm.path,
        "lm.lodr_path": lm.lodr_path,
        "hotwords.path": hotwords.path,
    }
    return {key: folder / path for key, path in named.items() if path}


def located(config: DecodeConfig, folder: Path) -> DecodeConfig:
    """Return the settings with the paths of `decode_files`."""
    found = {key: str(path) for key, path in decode_files(config, folder).items()}
    lm = dataclasses.replace(
        config.lm, path=found.get("lm.path", ""), lodr_path=found.get("lm.lodr_path", "")
    )
    hotwords = dataclasses.replace(config.hotwords, path=found.get("hotwords.path", ""))
    return dataclasses.replace(config, lm=lm, hotwords=hotwords)

"""What stages 1 to 3 left for training, checked before hours are spent on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from lhotse import CutSet
from torch import Tensor

from asrlib.data.cuts import read_cuts
from asrlib.data.noise import NOISE_SET, load_noise
from asrlib.errors import DataError
from asrlib.text.tokenizer import Tokenizer

_AGAIN = "run stage 2 again with --force"


@dataclass(frozen=True)
class RecipeInputs:
    """Training and dev sets with features, their statistics, and the tokens.

    Attributes:
        noise: to be added to the training set, if stage 2 left some.
        mean_F, std_F: of the training set's features.
        files: those that were read; they decide what is trained.
    """

    train: CutSet
    dev: CutSet
    noise: CutSet | None
    mean_F: Tensor
    std_F: Tensor
    tokenizer: Tokenizer
    files: tuple[Path, ...]


def input_files(data: Path) -> tuple[Path, ...]:
    """The files of a recipe's data directory that decide what is trained."""
    sets = tuple(data / name / "cuts_fbank.jsonl.gz" for name in ("train", "dev"))
    noise = data / NOISE_SET / "cuts_fbank.jsonl.gz"
    optional = (noise,) if noise.exists() else ()
    return (*sets, data / "fbank" / "cmvn.json", data / "lang" / "bpe.model", *optional)


def read_inputs(data: Path) -> RecipeInputs:
    """Read a recipe's data directory.

    Raises:
        DataError: a file is missing, half-made or unreadable; names it and the stage to run.
        CheckpointError: the token model is none.
    """
    files = input_files(data)
    for path in files:
        stage = 3 if path.name == "bpe.model" else 2
        if not path.is_file():
            raise DataError(f"{path}: missing", f"run stage {stage} first")
    mean_F, std_F = _read_stats(files[2])
    train, dev = _read_features(files[0]), _read_features(files[1])
    tokenizer = Tokenizer.from_file(files[3])
    return RecipeInputs(train, dev, load_noise(data), mean_F, std_F, tokenizer, files)


def _read_features(path: Path) -> CutSet:
    cuts = read_cuts(path, _AGAIN)
    bare = next((cut.id for cut in cuts if not cut.has_features), None)
    if bare is not None:
        raise DataError(f"{path}: {bare} has no features", _AGAIN)
    for stored in sorted({cut.features.storage_path for cut in cuts}):
        if not Path(stored).exists():
            raise DataError(f"{stored}: missing, features that {path} points at", _AGAIN)
    return cuts


def _read_stats(path: Path) -> tuple[Tensor, Tensor]:
    try:
        stats = json.loads(path.read_text())
        return torch.tensor(stats["mean"]), torch.tensor(stats["std"])
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path}: not feature statistics: {e!r}", _AGAIN) from e

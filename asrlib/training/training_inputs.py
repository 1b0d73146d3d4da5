"""Read the outputs of stages 1 to 3 for training, and check them before training starts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from lhotse import CutSet, MonoCut
from torch import Tensor

from asrlib.data.cuts import index_cuts
from asrlib.data.noise import NOISE_SET, load_noise
from asrlib.errors import DataError
from asrlib.text.tokenizer import Tokenizer

_AGAIN = "run stage 2 again with --force"


@dataclass(frozen=True)
class RecipeInputs:
    """Training and dev sets with features, the feature statistics, and the tokens.

    Attributes:
        train, dev: the sets, with features.
        noise: noise to add to the training set; None if stage 2 left none.
        mean_F, std_F: mean and standard deviation of the training set's features.
        tokenizer: the tokens.
        files: the files that were read; they decide the result of the training.
    """

    train: CutSet
    dev: CutSet
    noise: CutSet | None
    mean_F: Tensor
    std_F: Tensor
    tokenizer: Tokenizer
    files: tuple[Path, ...]


def input_files(data: Path, tokens: Path) -> tuple[Path, ...]:
    """List the files in a recipe's data directory that decide the result of a training.

    Args:
        data: the recipe's data directory.
        tokens: the token model.
    """
    sets = tuple(data / name / "cuts_fbank.jsonl.gz" for name in ("train", "dev"))
    noise = data / NOISE_SET / "cuts_fbank.jsonl.gz"
    optional = (noise,) if noise.exists() else ()
    return (*sets, data / "fbank" / "cmvn.json", tokens, *optional)


def input_names(data: Path, files: Iterable[Path]) -> dict[Path, str]:
    """Name the files that a training reads, so that only those in `data` are told by their place.

    A file in the recipe's data directory is named by its path from the recipe. Of any other, such
    as cohorts.jsonl, the file's own name counts, because a run is the same wherever such a file
    lies. The second of two that share a name is `NAME (2)`, and so on in the order of `files`.
    """
    names: dict[Path, str] = {}
    numbers: Counter[str] = Counter()
    for path in dict.fromkeys(files):
        if path.is_relative_to(data):
            names[path] = path.relative_to(data.parent).as_posix()
            continue
        numbers[path.name] += 1
        number = numbers[path.name]
        names[path] = path.name if number == 1 else f"{path.name} ({number})"
    return names


def read_inputs(data: Path, tokens: Path) -> RecipeInputs:
    """Read a recipe's data directory.

    Args:
        data: the recipe's data directory.
        tokens: the token model.

    Raises:
        DataError: a file is missing, incomplete or unreadable; the message names the file and the
            stage to run.
        CheckpointError: the file of the token model holds something else.
    """
    files = input_files(data, tokens)
    for path in files:
        stage = 3 if path == tokens else 2
        if not path.is_file():
            raise DataError(f"{path}: missing", f"run stage {stage} first")
    mean_F, std_F = _read_stats(files[2])
    train, dev = read_features(files[0]), read_features(files[1])
    tokenizer = Tokenizer.from_file(files[3])
    return RecipeInputs(train, dev, load_noise(data), mean_F, std_F, tokenizer, files)


def read_features(path: Path) -> CutSet:
    """Index a set that stage 2 has left; its cuts are read from disk when they are needed.

    Raises:
        DataError: the manifest is missing or unreadable, or features are missing.
    """
    if not path.is_file():
        raise DataError(f"{path}: missing", "run stage 2 first")
    archives: set[str] = set()

    def check(cut: MonoCut) -> None:
        if cut.features is None:
            raise DataError(f"{path}: {cut.id} has no features", _AGAIN)
        archives.add(cut.features.storage_path)

    cuts = index_cuts(path, _AGAIN, check)
    for stored in sorted(archives):
        if not Path(stored).exists():
            raise DataError(f"{stored}: missing, features that {path} refers to", _AGAIN)
    return cuts


def _read_stats(path: Path) -> tuple[Tensor, Tensor]:
    try:
        stats = json.loads(path.read_text())
        return torch.tensor(stats["mean"]), torch.tensor(stats["std"])
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path}: not feature statistics: {e!r}", _AGAIN) from e

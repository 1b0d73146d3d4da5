"""Checkpoints: written whole or not at all, verified, and safe to open.

A checkpoint is torch's zip file of tensors, and of a JSON text that says how they are nested.
The zip's checksums are verified after writing, before the file takes its name, and again before
loading; loading never runs code (`weights_only`), so that a checkpoint from elsewhere can be
opened without fear.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asrlib import __version__
from asrlib.encoders.depth import depth_of
from asrlib.errors import CheckpointError
from asrlib.files import atomic_path
from asrlib.training.optim import average_states
from asrlib.training.tree import flatten, unflatten

FORMAT = 1

# What zipfile raises on damaged bytes, by where the damage lies.
_ZIP_FAULTS = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, struct.error)
_ZIP_FAULTS += (zlib.error,)
# What torch raises on a pickle that is none: its machine runs on whatever stands there.
_UNREADABLE = (*_ZIP_FAULTS, pickle.UnpicklingError, LookupError, TypeError, AttributeError)

logger = logging.getLogger(__name__)


class CorruptCheckpoint(CheckpointError):
    """A checkpoint whose bytes are not those that were written."""


def save(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; under `path` stands either the whole of it or what stood there before.

    Args:
        kind: what it is a checkpoint of; `load` asks for it.
        content: nested dicts, lists, tuples, scalars, strings, bytes and tensors.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission), or reads back
            otherwise than it was written.
    """
    head = {"format": FORMAT, "kind": kind, "version": __version__}
    # Serialised in memory first: a full disk then is an OSError, not a fault inside torch.
    buffer = io.BytesIO()
    text, tensors = flatten(content)
    tree = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    torch.save({**head, "tree": tree, "tensors": tensors}, buffer)
    try:
        with atomic_path(path) as temp:
            with open(temp, "wb") as f:
                f.write(buffer.getbuffer())
                f.flush()
                os.fsync(f.fileno())
            _verify(temp)
    except OSError as e:
        raise CheckpointError(
            f"{path}: cannot be written: {e.strerror or e}; earlier checkpoints are intact",
            "free some space or permit writing there, then run the same command to continue",
        ) from e


def load(path: Path, kind: str) -> dict[str, Any]:
    """Read a checkpoint's content, tensors on the CPU.

    Raises:
        CorruptCheckpoint: truncated or altered.
        CheckpointError: missing, of another format version, or not of this kind.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint", "train the model first (stage 4)")
    _verify(path)
    try:
        box = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE:
        box = None
    if not isinstance(box, dict) or "format" not in box or "tree" not in box:
        raise CheckpointError(
            f"{path}: not a checkpoint of this library", "give a checkpoint that training wrote"
        )
    if box["format"] != FORMAT:
        age = "older" if box["format"] < FORMAT else "newer"
        raise CheckpointError(
            f"{path}: checkpoint format {box['format']} is {age} than {FORMAT}, "
            f"the one version {__version__} reads",
            f"use version {box.get('version', '?')}, which wrote it, or train again",
        )
    if box["kind"] != kind:
        raise CheckpointError(
            f"{path}: a checkpoint of kind {box['kind']}, not {kind}",
            f"give a checkpoint of kind {kind}",
        )
    return unflatten(box["tree"].numpy().tobytes().decode(), box["tensors"])


def average(paths: Mapping[int, Path], kind: str) -> tuple[dict[str, Tensor], list[int]]:
    """Mean of the `model` weights of a run's checkpoints, by step, summed in float64.

    Only of those that are as deep as the latest (`GrowingDepth`): before all blocks have joined,
    the weights stand for another model.

    Returns:
        The mean, and the steps that are in it, as ordered in `paths`.

    Raises:
        CheckpointError: as `load`.
    """
    states = {step: load(path, kind)["model"] for step, path in paths.items()}
    latest = depth_of(states[max(states)])
    steps = [step for step, state in states.items() if depth_of(state) == latest]
    return average_states(states[step] for step in steps), steps


@dataclass(frozen=True)
class CheckpointStore:
    """A run's checkpoints: `step-*.pt` to continue from, `best-*.pt` (weights only) to use."""

    dir: Path
    kind: str

    @property
    def step_kind(self) -> str:
        """Kind of the checkpoints to continue from."""
        return f"{self.kind}-training"

    def step_path(self, step: int) -> Path:
        return self.dir / f"step-{step:08d}.pt"

    def best_path(self, step: int) -> Path:
        return self.dir / f"best-{step:08d}.pt"

    def save_step(self, step: int, content: Mapping[str, Any]) -> Path:
        """Save all that continuing needs."""
        path = self.step_path(step)
        save(path, self.step_kind, content)
        return path

    def save_best(self, step: int, content: Mapping[str, Any]) -> Path:
        """Save weights and payload."""
        path = self.best_path(step)
        save(path, self.kind, content)
        return path

    def latest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint that is intact; None when there is none at all.

        Raises:
            CheckpointError: all are corrupt, or the newest intact one cannot be used.
        """
        self.remove_leftovers()
        paths = sorted(self.dir.glob("step-*.pt"), reverse=True)
        for path in paths:
            try:
                return path, load(path, self.step_kind)
            except CorruptCheckpoint as e:
                logger.warning("%s; falling back to the checkpoint before it", e.what)
        if paths:
            raise CheckpointError(
                f"{self.dir}: none of the {len(paths)} checkpoints is intact",
                "start over with --force",
            )
        return None

    def prune(self, steps: Collection[int], best: Collection[int]) -> None:
        """Remove all checkpoints but those of these steps."""
        keep = {self.step_path(s) for s in steps} | {self.best_path(s) for s in best}
        for path in self.paths():
            if path not in keep:
                path.unlink(missing_ok=True)

    def paths(self) -> Iterator[Path]:
        """All checkpoints of the run."""
        yield from sorted(self.dir.glob("step-*.pt"))
        yield from sorted(self.dir.glob("best-*.pt"))

    def remove_leftovers(self) -> None:
        """Remove the temporary files of a run that was killed while it wrote."""
        for path in self.dir.glob(".*.pt"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _verify(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except _ZIP_FAULTS as e:
        raise _corrupt(path, f"truncated or not a checkpoint ({e})") from e
    if damaged is not None:
        raise _corrupt(path, f"checksum of {damaged} is wrong")


def _corrupt(path: Path, reason: str) -> CorruptCheckpoint:
    return CorruptCheckpoint(
        f"{path}: corrupt checkpoint: {reason}",
        "copy it again from where it came, or remove it and train again from the one before it",
    )

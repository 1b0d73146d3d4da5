"""Write and read checkpoint files, which are complete, verified and safe to open.

A checkpoint is torch's zip file of tensors and of a JSON text that describes how they are nested.
The checksums of the zip file are verified after writing, before the file gets its name, and again
before loading. Loading never runs code (`weights_only`), so that it is safe to open a checkpoint of
unknown origin.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from asrlib import __version__
from asrlib.errors import CheckpointError, UserError
from asrlib.files import atomic_path
from asrlib.nested import flatten, unflatten

FORMAT = 1

# How messages call the kinds of checkpoints, and where a model of the kind is found.
_KINDS = {"transducer": "a recogniser", "speaker": "a speaker model", "fisher": "Fisher values"}
_EXAMPLES = {"transducer": ", such as exp/conv_rnnt", "speaker": ", such as exp/speaker_ecapa"}

# Errors that zipfile raises on damaged bytes; the kind depends on where the damage is.
_ZIP_FAULTS = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, struct.error)
_ZIP_FAULTS += (zlib.error,)
# Errors that torch raises if the file is not a pickle: its unpickler interprets any bytes.
_UNREADABLE = (*_ZIP_FAULTS, pickle.UnpicklingError, LookupError, TypeError, AttributeError)


class CorruptCheckpoint(CheckpointError):
    """A checkpoint that is truncated or was altered after it was written."""


def save(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write a checkpoint. If writing fails, an earlier file at `path` remains unchanged.

    Args:
        path: the file.
        kind: kind of the checkpoint, for example of a model; `load` compares it.
        content: nested dicts, lists, tuples, scalars, strings, bytes and tensors.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission), or its content
            differs when it is read back.
    """
    head = {"format": FORMAT, "kind": kind, "version": __version__}
    # Content is serialised in memory first, so that a full disk raises an OSError instead of an
    # error inside torch.
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
            "free some space or allow writing there, then run the same command to continue",
        ) from e


def load(path: Path, kind: str) -> dict[str, Any]:
    """Read the content of a checkpoint, with its tensors on the CPU.

    Raises:
        CorruptCheckpoint: the file is truncated or was altered.
        CheckpointError: the file is missing, or has another format version or another kind.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint", "train the model first")
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
            f"the format that version {__version__} reads",
            f"use version {box.get('version', '?')}, which wrote it, or train again",
        )
    if box["kind"] != kind:
        raise CheckpointError(
            f"{path}: holds {_KINDS.get(box['kind'], box['kind'])}, not {_KINDS.get(kind, kind)}",
            f"give {_KINDS.get(kind, kind)}{_EXAMPLES.get(kind, '')}",
        )
    return unflatten(box["tree"].numpy().tobytes().decode(), box["tensors"])


@contextlib.contextmanager
def building(path: Path) -> Iterator[None]:
    """Tell in one way what goes wrong while a model is built from the content of a checkpoint.

    Raises:
        CheckpointError: this version cannot build the model.
    """
    try:
        yield
    except (UserError, KeyError, TypeError, RuntimeError) as e:
        reason = e.what if isinstance(e, UserError) else " ".join(str(e).split())
        if isinstance(e, KeyError):
            reason = f"the file holds no {reason}"
        raise CheckpointError(
            f"{path}: this version cannot build the model: {reason}",
            "use the version that trained the model, or train it again",
        ) from e


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
        "copy it again from its origin, or remove it and resume from the checkpoint before it",
    )

"""Compiled operations; tools/install.sh builds them of gated_block.cc, beside this file."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import torch

from asrlib.errors import UserError

SOURCE = Path(__file__).with_name("gated_block.cc")


def library_path() -> Path:
    """Where the library of this source and the installed torch lies, beside torch."""
    key = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    return Path(torch.__file__).parents[1] / f"fairstream_kernels.{key}.so"


@functools.lru_cache(maxsize=1)
def kernels() -> Any:
    """The operations, as attributes: `gated_attention`, `gated_feed_forward`.

    Raises:
        UserError: they are not built, or of another source or torch.
    """
    path = library_path()
    if not path.exists():
        raise UserError(f"{path}: missing; it is built from {SOURCE.name}", "run tools/install.sh")
    torch.ops.load_library(path)
    return torch.ops.fairstream

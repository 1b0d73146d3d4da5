"""Compiled operations; tools/install.sh builds them of gated_block.cc, beside this file.

Where they are missing or cannot be loaded the same is computed without them, in more time.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from pathlib import Path
from typing import Any

import torch

from asrlib.errors import UserError

SOURCE = Path(__file__).with_name("gated_block.cc")

logger = logging.getLogger(__name__)


def library_path() -> Path:
    """Where the library of this source and the installed torch lies, beside torch."""
    key = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    return Path(torch.__file__).parents[1] / f"fairstream_kernels.{key}.so"


@functools.lru_cache(maxsize=1)
def kernels() -> Any:
    """The operations, as attributes: `gated_attention`, `gated_feed_forward`.

    Raises:
        UserError: they are not built, are of another source or torch, or cannot be loaded here.
    """
    path = library_path()
    if not path.exists():
        raise UserError(f"{path}: missing; it is built from {SOURCE.name}", "run tools/install.sh")
    try:
        torch.ops.load_library(path)
    except OSError as e:
        raise UserError(
            f"{path}: cannot be loaded: {e}", "remove it and run tools/install.sh on this machine"
        ) from e
    return torch.ops.fairstream


@functools.lru_cache(maxsize=1)
def kernels_work() -> bool:
    """Whether there are operations; why not is logged, once."""
    try:
        kernels()
    except UserError as e:
        logger.warning("%s. Computing what is off as well; to mend it, %s", e.what, e.mend)
        return False
    return True

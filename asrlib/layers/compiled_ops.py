"""Compiled operations; tools/install.sh builds them of the *.cc files beside this one.

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

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cc")))

logger = logging.getLogger(__name__)


def library_path() -> Path:
    """Where the library of these sources and the installed torch lies, beside torch."""
    content = b"".join(path.read_bytes() for path in SOURCES) + torch.__version__.encode()
    key = hashlib.sha256(content).hexdigest()[:16]
    return Path(torch.__file__).parents[1] / f"fairstream_kernels.{key}.so"


@functools.lru_cache(maxsize=1)
def kernels() -> Any:
    """The operations, as attributes: `gated_attention`, `gated_feed_forward`, `lstm`.

    Raises:
        UserError: they are not built, are of other sources or torch, or cannot be loaded here.
    """
    path = library_path()
    if not path.exists():
        names = ", ".join(source.name for source in SOURCES)
        raise UserError(f"{path}: missing; it is built from {names}", "run tools/install.sh")
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
        logger.warning("%s. Doing without, in more time; to fix it, %s", e.what, e.fix)
        return False
    return True

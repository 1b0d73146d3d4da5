"""Compiled operations, which tools/install.sh builds from the *.cc files in this directory.

Where they are missing or cannot be loaded, callers compute the same results in Python and torch,
which takes more time.
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
    """Path, beside torch, of the library built from these sources for the installed torch."""
    content = b"".join(path.read_bytes() for path in SOURCES) + torch.__version__.encode()
    key = hashlib.sha256(content).hexdigest()[:16]
    return Path(torch.__file__).parents[1] / f"fairstream_kernels.{key}.so"


@functools.lru_cache(maxsize=1)
def kernels() -> Any:
    """Load the compiled operations.

    Returns:
        A namespace with the operations `gated_attention`, `gated_feed_forward`, `lstm`,
        `lstm_backward` and `lstm_stack`.

    Raises:
        UserError: the operations are not built, were built from other sources or for another
            torch, or cannot be loaded on this machine.
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
    """Whether the compiled operations can be used; if not, the reason is logged once."""
    try:
        kernels()
    except UserError as e:
        logger.warning("%s. Computing without it, which is slower; to fix this, %s", e.what, e.fix)
        return False
    return True

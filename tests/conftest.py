"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import asrlib  # noqa: F401  it comes before torch: see asrlib/mkl.py

# isort: split
import pytest
import torch

REPO = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout's root."""
    return REPO


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared real-speech corpora beside the checkout; skipped where absent, but not in CI."""
    path = REPO.parent / "shared" / "data"
    if not path.is_dir():
        reason = "real-speech corpora not found in ../shared/data beside the checkout"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Commands set up logging for a process of their own; leave the tests' as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # else they would be closed
    yield
    root.handlers, root.level = handlers, level

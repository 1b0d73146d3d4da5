"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import asrlib  # noqa: F401, before torch: it decides how torch multiplies matrices

# isort: split
import pytest
import torch
from click.testing import Result
from command_fakes import invoke
from hypothesis import settings
from scoring_fakes import planted_recipe

REPO = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)
# A law does not depend on how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of the search fast_beam, which have it in their names, where k2 is missing."""
    if importlib.util.find_spec("k2") is None:
        for item in items:
            if "fast_beam" in item.name:
                item.add_marker(pytest.mark.skip(reason="fast_beam needs k2, which is not here"))


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


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Runs `python -m asrlib ...` in this process."""
    return invoke


@pytest.fixture(scope="session")
def scored_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """egs/demo: three systems decoded and scored; not to be changed by a test."""
    recipe = planted_recipe(tmp_path_factory.mktemp("egs") / "demo")
    for model in sorted(p.name for p in (recipe / "exp").iterdir()):
        quick = ["--set", "score.replicates=300"]
        result = invoke("score", "--recipe-dir", recipe, "--name", model, *quick)
        assert result.exit_code == 0, result.output
    return recipe

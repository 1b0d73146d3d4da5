from pathlib import Path

import pytest
from click.testing import CliRunner
from scoring_fakes import planted_recipe

from asrlib.__main__ import cli

QUICK = ["--set", "score.replicates=300"]


def invoke(*args: str | Path, **kwargs):
    return CliRunner().invoke(cli, [str(a) for a in args], catch_exceptions=False, **kwargs)


@pytest.fixture
def asrlib():
    """Runs `python -m asrlib ...` in this process."""
    return invoke


@pytest.fixture(scope="session")
def scored_recipe(tmp_path_factory) -> Path:
    """egs/demo: three systems decoded and scored; not to be changed by a test."""
    recipe = planted_recipe(tmp_path_factory.mktemp("egs") / "demo")
    for model in sorted(p.name for p in (recipe / "exp").iterdir()):
        result = invoke("score", "--recipe-dir", recipe, "--name", model, *QUICK)
        assert result.exit_code == 0, result.output
    return recipe

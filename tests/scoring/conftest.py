from pathlib import Path

import pytest
from command_fakes import invoke
from scoring_fakes import planted_recipe

QUICK = ["--set", "score.replicates=300"]


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

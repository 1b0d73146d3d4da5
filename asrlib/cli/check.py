"""`python -m asrlib check`: the overrides and the configuration files of a recipe."""

from __future__ import annotations

import click

from asrlib.cli.common import recipe_options
from asrlib.recipe import Recipe


@click.command(name="check")
@recipe_options
def command(recipe: Recipe) -> None:
    """Check the sections and keys of --set, and the names of the recipe's files in conf/.

    Every command does so first. `run.sh` calls this one before stage 0, so that a misspelt key of a
    late stage is found before all others have run. Values are checked when they are used.
    """
    del recipe  # `recipe_options` has checked it

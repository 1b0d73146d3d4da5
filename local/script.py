"""Start and end of data-preparation scripts, the same as of `python -m asrlib` commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from asrlib.__main__ import main
from asrlib.cli.common import log_to


def recipe_command(log: str, about: str | None) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator that makes a function a command with --recipe-dir and a log file.

    The command logs to data/log/LOG.log of the recipe.

    Args:
        log: name of the log file, without .log.
        about: help text of the command.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def logged(recipe_dir: Path, **options: Any) -> None:
            log_to(recipe_dir / "data" / "log" / f"{log}.log")
            function(recipe_dir=recipe_dir, **options)

        option = click.option("--recipe-dir", type=click.Path(path_type=Path), required=True)
        return click.command(help=about)(option(logged))

    return decorate


def run(command: click.Command) -> None:
    """Run a script's command; a `UserError` prints two lines and gives exit code 1."""
    main(command)

"""How a data-preparation script begins and ends: as the commands of `python -m asrlib` do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from asrlib.__main__ import main
from asrlib.cli.common import log_to


def recipe_command(log: str, about: str | None) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a command line with --recipe-dir that logs to data/log/LOG.log there.

    Args:
        log: the log file's name, without .log.
        about: the help text.
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
    """Run a script's command line; an error for the user is two lines, and exit code 1."""
    main(command)

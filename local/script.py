"""How a data-preparation script ends: as `python -m asrlib` does, without a traceback."""

from __future__ import annotations

import click

from asrlib.__main__ import main


def run(command: click.Command) -> None:
    """Run a script's command line; an error for the user is two lines, and exit code 1."""
    main(command)

"""How a data-preparation script ends: with an error of two lines, not a traceback."""

from __future__ import annotations

import sys

import click

from asrlib.errors import UserError


def run(command: click.Command) -> None:
    """Run a script's command line; on an error for the user, say it and exit with code 1."""
    try:
        command.main()
    except UserError as e:
        click.echo(f"error: {e}", err=True)
        sys.exit(1)

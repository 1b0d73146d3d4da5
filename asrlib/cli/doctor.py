"""`python -m asrlib doctor`: check the installation, name the fix for whatever fails."""

from __future__ import annotations

import dataclasses
import json
import sys

import click

from asrlib.doctor import examine, table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> None:
    """Check every dependency, its version and ABI; name the fix for what fails.

    Runs a k2 loss and a kaldifeat frame. Exits with 1 when a check fails.
    """
    findings = list(examine())
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(f) for f in findings], indent=2))
    else:
        click.echo(table(findings))
    sys.exit(0 if all(f.ok for f in findings) else 1)

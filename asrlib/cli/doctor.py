"""`python -m asrlib doctor`: check the installation and name the fix of each failure."""

from __future__ import annotations

import dataclasses
import json
import sys

import click

from asrlib.doctor import examine, table


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> None:
    """Check every dependency, its version and ABI, and name the fix of each failure.

    Among others, the checks compute a loss with k2 and features with kaldifeat. The exit status is
    1 if a check fails.
    """
    findings = list(examine())
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(f) for f in findings], indent=2))
    else:
        click.echo(table(findings))
    sys.exit(0 if all(f.ok for f in findings) else 1)

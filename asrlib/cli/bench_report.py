"""What the commands of `python -m asrlib bench` share: their cuts, rounds and figures."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from asrlib.cli.common import command_line
from asrlib.recipe import Recipe

if TYPE_CHECKING:
    from asrlib.experiments.benchmarks import Benchmark

# Options that determine what is measured; each command has some of them.
_OWN = ("model", "name", "steps", "test_set", "search", "utterances", "piece", "rounds", "minutes")
_OWN += ("words", "timed", "speakers", "replicates", "seed", "ranks")

rounds_option = click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Number of rounds; the fastest counts, because other load can only slow a round down.",
)


def report(recipe: Recipe, name: str, measured: Benchmark) -> None:
    """Write a measurement of the command that runs to exp/bench/NAME.json, and show it."""
    from asrlib.machine import machine
    from asrlib.scoring.records import Machine

    path = recipe.exp / "bench" / f"{name}.json"
    where, command = Machine(**machine()), command_line(recipe, *_OWN)
    dataclasses.replace(measured, machine=where, command=command).to_file(path)
    lines = {**measured.to_json(), "processor": where.cpu, "matrix code": where.matrix_code}
    for key, value in lines.items():
        click.echo(f"{key:>28}  {value:.4g}" if isinstance(value, float) else f"{key:>28}  {value}")
    click.echo(f"written to {path}")


def cuts_of(recipe: Recipe, name: str, utterances: int | None) -> Any:
    """Read the first cuts of a set, or all of them."""
    from asrlib.data.cuts import read_cuts

    cuts = read_cuts(recipe.data / name / "cuts.jsonl.gz", "run stage 1, or choose another set")
    return cuts if utterances is None else cuts.subset(first=utterances)

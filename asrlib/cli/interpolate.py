"""`python -m asrlib interpolate`: a model between a start and a model fine-tuned from it."""

from __future__ import annotations

import shlex
from dataclasses import replace

import click
import yaml

from asrlib.cli.common import command_line, log_to, recipe_options
from asrlib.errors import CheckpointError
from asrlib.experiments.run_record import RUN_FILE, RunRecord, read_record, start_of
from asrlib.files import atomic_write
from asrlib.recipe import Recipe

_OWN = ("start", "end", "share", "name")


@click.command("interpolate")
@recipe_options
@click.option("--start", required=True, help="Directory under exp/ of the model at share 0.")
@click.option("--end", required=True, help="Directory under exp/ of the model adapted from it.")
@click.option(
    "--share",
    type=click.FloatRange(0.0, 1.0),
    required=True,
    help="How far to go from the start to the end, from 0 to 1.",
)
@click.option("--name", required=True, help="Directory under exp/ to write the model to.")
def command(recipe: Recipe, start: str, end: str, share: float, name: str) -> None:
    """Write the model with the weights start + share * (end - start).

    exp/NAME gets final.pt, config.yaml and run.json, as a training leaves them, so that the model
    is decoded and scored like any other.
    """
    from asrlib.mitigation.interpolation import interpolate

    first, last, out = (recipe.exp / directory for directory in (start, end, name))
    log_to(None)
    record = read_record(last)
    if record.start != start_of(first / "final.pt"):
        raise CheckpointError(
            f"{last}: was not adapted from {first}", "name the model that --init gave as --start"
        )
    if out in (first, last):
        raise CheckpointError(f"{out}: holds one of the two models", "give another --name")
    (out / "final.pt").unlink(missing_ok=True)  # made last: a half-made directory has no model
    record = _record(record, name, share, command_line(recipe, *_OWN))
    with atomic_write(out / "config.yaml") as f:
        yaml.safe_dump(record.config, f, sort_keys=False)
    record.to_file(out / RUN_FILE)
    interpolate(first / "final.pt", last / "final.pt", share, out / "final.pt")
    click.echo(str(out / "final.pt"))


def _record(end: RunRecord, name: str, share: float, line: str) -> RunRecord:
    """Return the record of the end with the share as one more setting, which is declared."""
    return replace(
        end,
        name=name,
        argv=tuple(shlex.split(line)),
        config={**end.config, "interpolation": {"share": share}},
        factors={**end.factors, "interpolation.share": share},
    )

"""`python -m asrlib raised`: whom a reweighted training of a speaker model raised."""

from __future__ import annotations

from dataclasses import replace

import click

from asrlib.cli.common import log_to, recipe_options, threads_option
from asrlib.recipe import Recipe


@click.command("raised")
@click.option("--name", required=True, help="The speaker model: a directory under exp/.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    help="A column of data/speakers.tsv. May be repeated. [default: those of"
    " score.groups, and corpus]",
)
@click.option(
    "--utterances",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Largest number of utterances of a speaker.",
)
@threads_option
@recipe_options
def command(
    recipe: Recipe, name: str, columns: tuple[str, ...], utterances: int, num_threads: int
) -> None:
    """Show the mean weights that a reweighted training gave to groups of its speakers.

    The weights are those of the last checkpoint, of whole utterances; 1 is their mean. A permuted
    training shows what its adversary chose before the permutation. Writes exp/NAME/raised.json,
    which `publish` copies.
    """
    import torch

    from asrlib.experiments.raised import whom_raised
    from asrlib.scoring.score import read_config
    from asrlib.verification.raised import RAISED_FILE, raised_text

    log_to(None)
    torch.set_num_threads(num_threads)
    if columns:
        recipe = replace(recipe, overrides=(*recipe.overrides, f"score.groups={list(columns)}"))
    found = whom_raised(recipe, name, utterances, read_config(recipe))
    out = recipe.exp / name / RAISED_FILE
    found.to_file(out)
    click.echo(raised_text(found))
    click.echo(f"written to {out}")

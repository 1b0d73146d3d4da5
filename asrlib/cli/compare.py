"""Paired comparison of two decoded systems."""

from __future__ import annotations

import json
from pathlib import Path

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.files import atomic_write
from asrlib.recipe import Recipe


@click.command(name="compare")
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the JSON; by default under exp/compare/.",
)
@recipe_options
def command(recipe: Recipe, baseline: Path, other: Path, out: Path | None) -> None:
    """Compare decode directories BASELINE and OTHER (paths, or relative to exp/).

    The same speakers are resampled for both, so that what is hard for both cancels out.
    """
    from asrlib.scoring import compare
    from asrlib.scoring.score import ScoreConfig

    log_to(None)
    config = recipe.config(ScoreConfig, "score")
    paths = [p if (p / "hyp.jsonl").exists() else recipe.exp / p for p in (baseline, other)]
    labels = [f"{p.parent.name}/{p.name}" for p in paths]
    sides = ([compare.Decoding(path)] for path in paths)
    comparison = compare.compare_systems(*sides, config.resampling)
    file = "--".join(label.replace("/", ".") for label in labels) + ".json"
    out = out or recipe.exp / "compare" / file
    with atomic_write(out) as f:
        content = {"baseline": labels[0], "other": labels[1], **compare.comparison_json(comparison)}
        json.dump(content, f, indent=1)
    click.echo(compare.comparison_text(comparison, *labels))
    click.echo(f"written to {out}")

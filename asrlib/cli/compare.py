"""`python -m asrlib compare`: paired comparison of two decoded systems."""

from __future__ import annotations

from pathlib import Path

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.recipe import Recipe


@click.command(name="compare")
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The JSON file to write; by default a file under exp/compare/.",
)
@recipe_options
def command(recipe: Recipe, baseline: Path, other: Path, out: Path | None) -> None:
    """Compare the decode directories BASELINE and OTHER (paths, or relative to exp/).

    The difference is taken speaker by speaker, so that speakers who are difficult for both systems
    do not widen its interval.
    """
    from asrlib.scoring.compare import compare_decodes, comparison_text
    from asrlib.scoring.score import ScoreConfig

    log_to(None)
    config = recipe.config(ScoreConfig, "score")
    a, b = (p if (p / "hyp.jsonl").exists() else recipe.exp / p for p in (baseline, other))
    comparison = compare_decodes(a, b, config.confidence)
    file = f"{comparison.baseline}--{comparison.other}.json".replace("/", ".")
    out = out or recipe.exp / "compare" / file
    comparison.to_file(out)
    click.echo(comparison_text(comparison))
    click.echo(f"written to {out}")

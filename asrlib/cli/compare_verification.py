"""`python -m asrlib compare-verification`: paired comparison of two verification systems."""

from __future__ import annotations

from pathlib import Path

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.recipe import Recipe

_DIR = click.Path(file_okay=False, path_type=Path)


@click.command(name="compare-verification")
@click.option(
    "--baseline",
    "baselines",
    required=True,
    multiple=True,
    type=_DIR,
    help="Directory of verification.json, as it is or below exp/; once for each training seed.",
)
@click.option(
    "--other", "others", required=True, multiple=True, type=_DIR, help="The same, other system."
)
@click.option("--test-set", default="test", show_default=True, help="The set, for its speakers.")
@click.option(
    "--cohorts",
    type=_DIR,
    multiple=True,
    help="Directory with cohorts.jsonl, by whose cohorts errors are given, too. May be repeated.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The JSON file to write; by default a file under exp/compare/.",
)
@recipe_options
def command(
    recipe: Recipe,
    baselines: tuple[Path, ...],
    others: tuple[Path, ...],
    test_set: str,
    cohorts: tuple[Path, ...],
    out: Path | None,
) -> None:
    """Compare two verification systems on the same trials, by group, with intervals.

    The bootstrap draws the same speakers for both systems. The figures of several seeds are
    averaged.
    """
    from asrlib.scoring.score import read_config
    from asrlib.verification.compare import VerificationRun, compare_runs
    from asrlib.verification.config import VerificationConfig
    from asrlib.verification.groups import column_maker
    from asrlib.verification.text import comparison_text

    log_to(None)
    config = recipe.config(VerificationConfig, "verification")
    score = read_config(recipe)
    baseline, other = (
        [VerificationRun.read(d if d.is_dir() else recipe.exp / d) for d in directories]
        for directories in (baselines, others)
    )
    found = compare_runs(
        baseline,
        other,
        column_maker(recipe.data / "speakers.tsv", test_set, score.groups, score.bands, cohorts),
        config.impostors,
        score.min_speakers,
        config.resampling,
    )
    file = f"{found.baseline[0]}--{found.other[0]}.verification.json".replace("/", ".")
    out = out or recipe.exp / "compare" / file
    found.to_file(out)
    click.echo(comparison_text(found))
    click.echo(f"written to {out}")

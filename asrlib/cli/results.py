"""RESULTS.md and exp/report.html of a recipe, from what lies in exp/."""

from __future__ import annotations

import logging

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.files import atomic_write
from asrlib.recipe import Recipe


@click.command(name="results")
@recipe_options
def command(recipe: Recipe) -> None:
    """Regenerate RESULTS.md and exp/report.html; what stands in NOTES.md is taken along.

    Sections of RESULTS.md of which exp/ holds nothing any more are kept, and say so; delete them
    there to be rid of them.
    """
    from asrlib.report.document import to_html, to_markdown
    from asrlib.report.keep import keep
    from asrlib.report.single_talker import build_document
    from asrlib.scoring.score import ScoreConfig

    log_to(recipe.exp / "log" / "results.log")
    logging.getLogger("tensorboard").setLevel(logging.WARNING)  # it tells of every file it opens
    document = build_document(recipe.dir, recipe.config(ScoreConfig, "score"))
    page, table = recipe.exp / "report.html", recipe.dir / "RESULTS.md"
    if table.exists():
        document = keep(document, table.read_text(encoding="utf-8"))
    with atomic_write(table) as f:
        f.write(to_markdown(document))
    with atomic_write(page) as f:
        f.write(to_html(document))
    logging.info("written: %s, %s", table, page)

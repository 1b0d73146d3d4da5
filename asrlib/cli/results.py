"""RESULTS.md and the pages of plans from results/, and exp/report.html from exp/."""

from __future__ import annotations

import logging

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.errors import DataError
from asrlib.files import atomic_write
from asrlib.recipe import Recipe

log = logging.getLogger(__name__)


@click.command(name="results")
@recipe_options
def command(recipe: Recipe) -> None:
    """Write RESULTS.md and the pages of results/ from what is published, exp/report.html from exp/.

    `python -m asrlib publish` copies what was scored in exp/ to results/.
    """
    from asrlib.report.document import to_html
    from asrlib.report.page import build_document
    from asrlib.report.results_page import write_pages
    from asrlib.scoring.score import ScoreConfig

    log_to(recipe.exp / "log" / "results.log")
    logging.getLogger("tensorboard").setLevel(logging.WARNING)  # it tells of every file it opens
    config = recipe.config(ScoreConfig, "score")
    written = write_pages(recipe.dir)
    if written:
        log.info("written: %s", ", ".join(map(str, written)))
    try:
        document = build_document(recipe.dir, config)
    except DataError as e:
        if not written:
            raise
        log.info("no exp/report.html: %s", e.what)
        return
    page = recipe.exp / "report.html"
    with atomic_write(page) as f:
        f.write(to_html(document))
    log.info("the report: %s", page)

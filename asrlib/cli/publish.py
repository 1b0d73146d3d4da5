"""From scores in exp/ to results/, which is committed."""

from __future__ import annotations

import logging

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.errors import DataError
from asrlib.recipe import Recipe

log = logging.getLogger(__name__)


@click.command(name="publish")
@click.argument("runs", nargs=-1)
@click.option("--plan", metavar="NAME", help="Only runs of this plan; `main`: those of no plan.")
@recipe_options
def command(recipe: Recipe, runs: tuple[str, ...], plan: str | None) -> None:
    """Copy scores of RUNS (directories under exp/; default: all) to results/; renew RESULTS.md.

    What is published stays: another run of the same name gets a file of its own. Ids of speakers
    become numbers unless conf/publish.yaml of the recipe says `public: true`. What is known about
    cohorts of speakers goes to results/fairness_MODEL.json, for the model whose errors showed them.
    """
    from asrlib.experiments.publish import publish
    from asrlib.report.fairness.collect import collect_fairness
    from asrlib.report.fairness.published import publish_fairness
    from asrlib.report.results_page import write_pages

    log_to(recipe.exp / "log" / "publish.log")
    done = publish(recipe, runs, plan)
    for skipped in done.skipped:
        log.warning("%s: skipped: %s", skipped.path, skipped.reason)
    about = publish_fairness(collect_fairness(recipe))
    pages = ([] if about is None else [about]) + write_pages(recipe.dir)
    log.info("published: %s", ", ".join(str(p) for p in (*done.files, *pages)) or "nothing")
    if not done.files:
        raise DataError(
            f"{recipe.exp}: no run that can be published", "train, decode and score one first"
        )

"""`python -m asrlib judge-mitigations`: stage 11, the table of mitigations before and after."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from pathlib import Path

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.recipe import Recipe

log = logging.getLogger(__name__)


@click.command(name="judge-mitigations")
@click.option("--plan", "name", default="mitigation", show_default=True, help="Of conf/plans/.")
@click.option("--start", required=True, help="As for `plan`: a finished model under exp/.")
@click.option("--cohorts", required=True, help="As for `plan`: a directory under exp/cohorts/.")
@click.option(
    "--beside",
    multiple=True,
    help="A further finished model under exp/ as a control, such as another seed of the start,"
    " decoded on the same set. May be repeated.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; by default exp/fairness/mitigations.json.",
)
@recipe_options
def command(
    recipe: Recipe, name: str, start: str, cohorts: str, beside: tuple[str, ...], out: Path | None
) -> None:
    """Judge what `plan NAME --start --cohorts` decoded, and write the table before and after.

    Give the same --set as for `plan`.
    """
    from asrlib.experiments.mitigations import judge_plan, sentences
    from asrlib.experiments.plan_file import load_plan, plan_of_start
    from asrlib.mitigation.table import FAIRNESS_DIR, MITIGATIONS_FILE
    from asrlib.scoring.score import ScoreConfig

    folder = recipe.exp / FAIRNESS_DIR
    log_to(folder / "log" / "judge_mitigations.log")
    plan = plan_of_start(recipe, load_plan(recipe, name), start, cohorts)
    resampling = recipe.config(ScoreConfig, "score").resampling
    own = replace(recipe, overrides=())  # the plan's runs hold them
    found = judge_plan(own, plan, name, cohorts, resampling, beside)
    found = replace(found, commands=_commands(recipe, name, start, cohorts, beside))
    found.to_file(out or folder / MITIGATIONS_FILE)
    for line in sentences(found):
        log.info("%s", line)


def _commands(
    recipe: Recipe, name: str, start: str, cohorts: str, beside: tuple[str, ...]
) -> tuple[str, str]:
    """Return what trains the rows of the table, and what judges them."""
    common = ["--recipe-dir", f"egs/{recipe.dir.resolve().name}"]
    common += ["--start", start, "--cohorts", cohorts]
    common += [word for override in recipe.overrides for word in ("--set", override)]
    others = [word for other in beside for word in ("--beside", other)]
    trained = ["python", "-m", "asrlib", "plan", name, *common]
    judged = ["python", "-m", "asrlib", "judge-mitigations", "--plan", name, *common, *others]
    return shlex.join(trained), shlex.join(judged)

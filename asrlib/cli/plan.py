"""An experiment: what is missing of a plan is run, and published."""

from __future__ import annotations

from dataclasses import replace

import click

from asrlib.cli.common import log_to, stage_options
from asrlib.cli.job_options import job_options, parse_options
from asrlib.errors import ConfigError
from asrlib.recipe import Recipe


@click.command(name="plan")
@click.argument("name")
@click.option(
    "--start",
    help="A finished model under exp/ that all rows start from, instead of the plan's. The runs are"
    " called START-COHORTS-ROW and are not published. Needs --cohorts.",
)
@click.option("--cohorts", help="The cohorts, with --start: a directory under exp/cohorts/.")
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Run only runs whose names fit this shell pattern, for example '*-seed3'. May be"
    " repeated.",
)
@click.option("--dry-run", is_flag=True, help="Say what is missing; run nothing.")
@job_options
@stage_options
def command(
    recipe: Recipe,
    name: str,
    start: str | None,
    cohorts: str | None,
    only: tuple[str, ...],
    dry_run: bool,
    nj: int,
    engine: str,
    options: tuple[str, ...],
) -> None:
    """Run what is missing of conf/plans/NAME.yaml: train, decode, score, publish.

    A run is done when results/NAME holds it, in a fresh clone too. Jobs leave their logs in
    exp/plans/NAME/log. A second call runs only what failed. Ctrl-C and SIGTERM stop the jobs,
    whose trainings save; the same command goes on.
    """
    from asrlib.experiments.plan_file import load_plan, plan_of_start
    from asrlib.experiments.run_plan import PlanRunner
    from asrlib.jobs.sigterm import ended_by_sigterm
    from asrlib.report.results_page import write_pages

    if (start is None) != (cohorts is None):
        raise ConfigError("one of --start and --cohorts is missing", "give both or neither")
    plan = load_plan(recipe, name)
    if start is not None and cohorts is not None:
        plan = plan_of_start(recipe, plan, start, cohorts)
    own = replace(recipe, overrides=())  # the plan's runs hold them
    runner = PlanRunner(own, plan, nj, engine, parse_options(options), write_pages, only=only)
    if dry_run:
        for line in runner.outline():
            click.echo(line)
        return
    log_to(runner.folder / "log" / "plan.log")
    for line in runner.outline():
        click.echo(line)
    with ended_by_sigterm():
        runner.run()

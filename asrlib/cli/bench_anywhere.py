"""Benchmarks of `python -m asrlib bench` whose figures do not depend on the machine.

They go to results/ of the recipe, which is committed, and to its pages.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from asrlib.cli.common import command_line, log_to, recipe_options
from asrlib.recipe import Recipe


@click.command()
@click.option("--draws", type=click.IntRange(min=10), default=5000, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Seed of all draws.")
@recipe_options
def statistics(recipe: Recipe, draws: int, seed: int) -> None:
    """Count how often intervals, gaps and confirmations are right, on simulated speakers.

    The figures do not depend on the machine, so that they go to results/statistics/ of the recipe,
    which is committed, and to its pages. 5,000 draws take some ten minutes on one core.
    """
    from asrlib.experiments.simulation import SpeakerErrorModel, simulate
    from asrlib.experiments.store import SIMULATION_FILE, STATISTICS_PLAN, plan_dir, write_about
    from asrlib.report.results_page import write_pages

    log_to(None)
    found = simulate(SpeakerErrorModel(), draws, seed, command_line(recipe, "draws", "seed"))
    write_about(recipe.dir, STATISTICS_PLAN, found)
    write_pages(recipe.dir)
    click.echo(f"written to {plan_dir(recipe.dir, STATISTICS_PLAN) / SIMULATION_FILE}")


@click.command()
@click.option(
    "--cuts",
    type=click.IntRange(min=1),
    multiple=True,
    default=(10_000, 100_000, 1_000_000),
    show_default=True,
    help="Number of cuts. May be repeated; what was measured with other numbers is kept.",
)
@recipe_options
def memory(recipe: Recipe, cuts: tuple[int, ...]) -> None:
    """Measure the peak memory of stages 1, 2, 5, 6 and of loading batches, on made-up corpora.

    The figures go to results/memory/ of the recipe. A million cuts take 8 GB of temporary files,
    and half an hour on one core.
    """
    from asrlib.experiments.memory import Memory, measure_memory
    from asrlib.experiments.store import MEMORY_FILE, MEMORY_PLAN, plan_dir, read_plan, write_about
    from asrlib.report.results_page import write_pages

    log_to(None)
    command = command_line(recipe, "cuts")
    for number in cuts:
        with tempfile.TemporaryDirectory() as name:
            for peak in measure_memory(number, Path(name) / "recipe"):
                older = read_plan(recipe.dir, MEMORY_PLAN).memory
                found = Memory(command=command, peaks=(peak,)).joined(older.peaks if older else ())
                write_about(recipe.dir, MEMORY_PLAN, found)
                click.echo(f"{peak.part:>13} {number:>9,} cuts {peak.memory_mb:8.0f} MiB")
    write_pages(recipe.dir)
    click.echo(f"written to {plan_dir(recipe.dir, MEMORY_PLAN) / MEMORY_FILE}")


@click.command()
@click.option("--draws", type=click.IntRange(min=10), default=5000, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Seed of all draws.")
@recipe_options
def discovery(recipe: Recipe, draws: int, seed: int) -> None:
    """Count how often a disparity of the size planted in egs/mini is found and confirmed.

    The searches for places run on 400 made-up speakers and are judged on 400 others, beside a rule
    that knows the planted areas. The figures go to results/statistics/ of the recipe, as those of
    `bench statistics`. 5,000 draws take some eight minutes on one core.
    """
    from asrlib.experiments.discovery_power import simulate_discovery
    from asrlib.experiments.store import DISCOVERY_FILE, STATISTICS_PLAN, plan_dir, write_about
    from asrlib.report.results_page import write_pages

    log_to(None)
    found = simulate_discovery(draws, seed, command_line(recipe, "draws", "seed"))
    write_about(recipe.dir, STATISTICS_PLAN, found)
    write_pages(recipe.dir)
    click.echo(f"written to {plan_dir(recipe.dir, STATISTICS_PLAN) / DISCOVERY_FILE}")

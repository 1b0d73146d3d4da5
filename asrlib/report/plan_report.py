"""Sections of exp/report.html on the plans whose runs lie in exp/.

The tables are those of results/<plan>/README.md; beside them stands what needs the hypotheses
themselves: how much later than the reference a system writes its words, and error against compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean

from asrlib.errors import DataError
from asrlib.experiments.publish import collect_run
from asrlib.experiments.run_scores import PublishedRun, SetScores
from asrlib.experiments.runs import Run, systems
from asrlib.experiments.store import Skipped, read_plan
from asrlib.recipe import Recipe
from asrlib.report import plots
from asrlib.report.document import Block, Figure, Section, Table, Text
from asrlib.report.format import quantiles
from asrlib.report.plan_page import plan_sections, skipped_sections
from asrlib.report.published import System, reference_of, systems_of
from asrlib.scoring.latency import correct_words, lags_ms, summarise


def plan_report(
    recipe_dir: Path, plan: str, names: Sequence[str], runs: Sequence[Run]
) -> Iterator[Section]:
    """What there is to say of a plan.

    Args:
        names: directories under exp/ of the plan's runs.
        runs: their scored decodes of test sets of one talker.
    """
    found: list[PublishedRun] = []
    skipped: list[Skipped] = []
    for name in names:
        try:
            run, left_out = collect_run(Recipe(recipe_dir), name)
        except DataError as e:
            run, left_out = None, [Skipped(f"exp/{name}", e.what)]
        found += [run] if run is not None and run.scores else []
        skipped += left_out
    known = read_plan(recipe_dir, plan)
    results = replace(known, runs=tuple(found), skipped=tuple(skipped), imported=None)
    for section in plan_sections(results):
        yield replace(section, title=f"Plan {plan}: {section.title}")
    for test_set, search, scored in systems_of(results.runs, SetScores):
        own = [r for r in runs if (r.test_set, r.search) == (test_set, search)]
        blocks: list[Block] = [*_lags(own, reference_of(scored, known.reference).label)]
        blocks += _compute_figure(scored)
        if blocks:
            title = f"Plan {plan}: {test_set}, {search}: delay and compute"
            yield Section(title, tuple(blocks), 3)
    for section in skipped_sections(results.skipped):
        yield replace(section, title=f"Plan {plan}: {section.title}")


def _lags(runs: Sequence[Run], reference: str) -> list[Block]:
    """How much later than the reference each system wrote the words that both have right."""
    groups = {label: members for (label, _), members in systems(runs).items()}
    if reference not in groups or len(groups) < 2:
        return []
    words = {
        label: [correct_words(r.decoding.aligned) for r in members]
        for label, members in groups.items()
    }
    rows = []
    for label, own in words.items():
        if label != reference:
            pairs = product(words[reference], own)
            lags = [lag for a, b in pairs for lag in lags_ms(a, b)]
            rows.append((label, quantiles(summarise(lags), sign="+")))
    text = (
        f"How much later than {reference} a word that both have right came out, over every pair "
        "of their seeds; below zero is sooner."
    )
    return [Text(text), Table(("system", "later, p50 / p90 ms"), tuple(rows))]


def _compute_figure(scored: Sequence[System[SetScores]]) -> list[Figure]:
    """Error against what decoding spent, where systems spend differently."""
    flops, cpu = "GFLOP a second of audio", "CPU ms a second of audio, one stream"
    panels: dict[str, dict[str, tuple[float, float, Sequence[float] | None]]] = {}
    for system in scored:
        spent = [s.meta.flops_per_second for s in system.scores]
        known = [value / 1e9 for value in spent if value is not None]
        figures = {flops: mean(known) if known else None}
        first = system.scores[0].cpu_1
        figures[cpu] = None if first is None else 1000 * first
        for title, value in figures.items():
            if value is not None:
                point = (value, mean(system.percents()), system.interval())
                panels.setdefault(title, {})[system.label] = point
    panels = {title: points for title, points in panels.items() if len(points) > 1}
    if not panels:
        return []
    return [Figure(plots.scatter(panels, "WER, %"), "Error against compute and CPU time.")]

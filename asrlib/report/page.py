"""exp/report.html: the results of a recipe, from what lies in exp/, as one document.

The first sentence and the first sections are about the speakers for whom recognition fails.

Deterministic: the same exp/ gives the same bytes. No date, no path and no figure of the machine
that writes: only of the one that decoded, as scores.json tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from asrlib import __version__
from asrlib.errors import DataError
from asrlib.experiments.run_scores import MAIN_PLAN
from asrlib.experiments.runs import Run, collect_runs, curve_labels, of_set, plan_of
from asrlib.experiments.training_log import read_curves
from asrlib.recipe import Recipe
from asrlib.report.document import Document, Section, Table, Verbatim
from asrlib.report.fairness.cohort_sections import cohort_sections, explained_sections
from asrlib.report.fairness.collect import Fairness, collect_fairness
from asrlib.report.fairness.latency_section import latency_sections as cohort_latency
from asrlib.report.fairness.limits import cohort_commands, limits_section
from asrlib.report.fairness.map_section import map_section
from asrlib.report.fairness.mitigation_sections import mitigation_sections
from asrlib.report.fairness.truth_section import truth_sections
from asrlib.report.fairness.words import lead_sentence
from asrlib.report.glossary import MEANINGS
from asrlib.report.meetings import collect_meetings, talkers_sections
from asrlib.report.plan_page import skipped_sections
from asrlib.report.plan_report import plan_report
from asrlib.report.provenance import (
    commands_section,
    made_on,
    run_sections,
    speed_section,
    training_sections,
)
from asrlib.report.single_talker import (
    compute_sections,
    error_sections,
    group_sections,
    latency_sections,
)
from asrlib.report.verification import collect_verification, verification_sections
from asrlib.scoring.score import ScoreConfig


def build_document(recipe_dir: Path, config: ScoreConfig) -> Document:
    """Collect tables and figures of a recipe.

    Args:
        recipe_dir: holds exp/, and NOTES.md where people wrote some.

    Raises:
        DataError: nothing was scored yet.
    """
    recipe = Recipe(recipe_dir)
    exp, name = recipe.exp, f"egs/{recipe_dir.resolve().name}"
    runs, skipped = collect_runs(exp)
    meetings, broken = collect_meetings(exp)
    fairness = collect_fairness(recipe)
    verified, unreadable = collect_verification(exp, fairness.public)
    if not (runs or meetings or verified or skipped or broken or unreadable):
        raise DataError(f"{exp}: holds no scores.json", "run the score stage (6) first")
    everything = (*runs, *meetings)
    curves = {n: read_curves(exp / n) for n in sorted({r.name for r in everything})}
    main = [r for r in runs if plan_of(r) == MAIN_PLAN]
    tests = sorted({r.test_set for r in main} - fairness.own_sets)
    sections: list[Section] = []
    for test_set in tests:
        sections.extend(error_sections(of_set(main, test_set), test_set, config))
    sections.extend(_about_cohorts(fairness))
    for test_set in tests:
        sections.extend(group_sections(of_set(main, test_set), test_set, config))
    sections.extend(verification_sections(verified))
    sections.extend(training_sections(curves, curve_labels(everything)))
    for test_set in tests:
        sections.extend(compute_sections(of_set(main, test_set), test_set))
        sections.extend(latency_sections(of_set(main, test_set), test_set))
    sections.extend(cohort_latency(fairness))
    sections.extend(talkers_sections(meetings, recipe_dir, config))
    sections.extend(truth_sections(fairness))
    for test_set in sorted({r.test_set for r in main} & fairness.own_sets):
        sections.extend(error_sections(of_set(main, test_set), test_set, config))
    for plan in sorted({plan_of(r) for r in everything} - {MAIN_PLAN}):
        of_plan = sorted({r.name for r in everything if plan_of(r) == plan})
        own = [r for r in runs if plan_of(r) == plan]
        sections.extend(plan_report(recipe_dir, plan, of_plan, own))
    sections.extend(limits_section(fairness))
    sections.extend(_how_made(name, exp, main, runs, fairness))
    if runs:
        sections.append(
            Section("How to read the columns", (Table(("column", "meaning"), MEANINGS, 2),))
        )
    sections.extend(skipped_sections([*skipped, *broken, *unreadable, *fairness.skipped]))
    notes = recipe_dir / "NOTES.md"
    if notes.exists():
        sections.append(Section("Notes", (Verbatim(notes.read_text(encoding="utf-8")),)))
    footer = (
        f"Written by `python -m asrlib results --recipe-dir {name}` from what lies in exp/ "
        f"(version {__version__})."
    )
    return Document(f"Results of {name}", tuple(sections), footer, lead_sentence(fairness))


def _about_cohorts(fairness: Fairness) -> Iterator[Section]:
    yield from cohort_sections(fairness)
    yield from map_section(fairness)
    yield from explained_sections(fairness)
    yield from mitigation_sections(fairness)


def _how_made(
    name: str, exp: Path, main: Sequence[Run], runs: Sequence[Run], fairness: Fairness
) -> Iterator[Section]:
    yield from speed_section(exp / "bench")
    if runs:
        yield made_on(runs)
        yield from run_sections(main)
    yield commands_section(name, runs)
    yield from cohort_commands(fairness, name)

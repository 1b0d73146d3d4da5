"""RESULTS.md of a recipe: a headline table, and a few lines for each plan that is published.

RESULTS.md and all pages below results/ are functions of results/ alone: the same folder gives the
same bytes, whatever lies in exp/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from asrlib.experiments.run_scores import MAIN_PLAN, MixtureScores, SetScores
from asrlib.experiments.store import RESULTS, PlanResults, read_store
from asrlib.files import atomic_write, in_turn
from asrlib.report.document import Block, Document, Section, Table, Text, to_markdown
from asrlib.report.fairness.published import fairness_pages, fairness_sections
from asrlib.report.format import DASH, interval, number
from asrlib.report.plan_page import about_of, imported_rate, plan_document, skipped_sections
from asrlib.report.published import System, systems_of

T = TypeVar("T")

MAX_LINES = 149
_MAX_ROWS = 30  # of the headline table
_HEADER = ("plan", "set", "search", "system", "seeds", "WER %", "interval", "delay p50 ms")
_HEADER += ("GFLOP/s",)


def write_pages(recipe_dir: Path) -> list[Path]:
    """Write RESULTS.md and the page of each plan; none where nothing is published.

    Two processes that publish at once write one after the other, so that the last one has read
    what both published.
    """
    folder = recipe_dir / RESULTS
    if not folder.is_dir():
        return []
    with in_turn(folder):
        pages = dict(_pages(recipe_dir))
        for path, text in pages.items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                with atomic_write(path) as f:
                    f.write(text)
    return list(pages)


def _pages(recipe_dir: Path) -> Iterator[tuple[Path, str]]:
    recipe, plans = f"egs/{recipe_dir.resolve().name}", read_store(recipe_dir)
    for plan in plans:
        path = recipe_dir / RESULTS / plan.name / "README.md"
        yield path, to_markdown(plan_document(recipe, plan))
    for path, document in fairness_pages(recipe_dir):
        yield path, to_markdown(document)
    yield recipe_dir / "RESULTS.md", results_text(recipe, plans, fairness_sections(recipe_dir))


def results_text(
    recipe: str, plans: Sequence[PlanResults], fairness: Sequence[Section] = ()
) -> str:
    """RESULTS.md; where plans are too many for its length, the last have one line each.

    Args:
        fairness: what is said about cohorts.
    """
    full = len(plans)
    while True:
        text = to_markdown(_document(recipe, plans, full, fairness))
        if text.count("\n") <= MAX_LINES or full == 0:
            return text
        full -= 1


def _document(
    recipe: str, plans: Sequence[PlanResults], full: int, fairness: Sequence[Section]
) -> Document:
    sections = [Section("Systems", _headline(plans)), *fairness]
    sections += [_plan_section(recipe, plan) for plan in plans[:full]]
    if plans[full:]:
        lines = [f"- [{about_of(recipe, p).title}]({_page(p)})" for p in plans[full:]]
        sections.append(Section("Further plans", (Text("\n".join(lines)),)))
    sections += skipped_sections([s for plan in plans for s in plan.skipped])
    footer = (
        f"Written by `python -m asrlib results --recipe-dir {recipe}` from the files in "
        f"[{RESULTS}/]({RESULTS}/), which `python -m asrlib publish` and plans write. The page "
        "with curves and pictures is exp/report.html, made from a machine's own exp/."
    )
    return Document(f"Results of {recipe}", tuple(sections), footer)


def _page(plan: PlanResults) -> str:
    return f"{RESULTS}/{plan.name}/README.md"


def _plan_section(recipe: str, plan: PlanResults) -> Section:
    about = about_of(recipe, plan)
    blocks: list[Block] = [Text(" ".join(about.finding.split()))] if about.finding else []
    if about.command:
        imported = plan.imported if plan.about is None else None
        when = f" (at {imported.commit})" if imported else ""
        blocks.append(Text(f"Command{when}: `{' '.join(about.command.split())}`"))
    blocks.append(Text(f"{_extent(plan)}: [tables, comparisons and runs]({_page(plan)})"))
    return Section(about.title, tuple(blocks))


def _extent(plan: PlanResults) -> str:
    parts = [_count(len(plan.runs), "run")] if plan.runs else []
    if plan.imported is not None:
        parts.append(f"{len(plan.imported.rows)} rows imported from {plan.imported.commit}")
    parts += [_count(len(plan.audits), "audit")] if plan.audits else []
    parts += ["a simulation"] if plan.simulation or plan.discovery else []
    parts += [f"{plan.faults.kills} kills"] if plan.faults is not None else []
    parts += [f"{plan.damage.kinds:,} kinds of damage"] if plan.damage is not None else []
    parts += ["a measurement"] if plan.memory is not None else []
    return ", ".join(parts) or "The figures above"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _headline(plans: Sequence[PlanResults]) -> tuple[Block, ...]:
    rows = [row for plan in plans for row in _headline_rows(plan)]
    if not rows:
        others = any(plan.runs or plan.audits for plan in plans)
        what = "No error rate of a recogniser trained here" if others else "Nothing"
        return (Text(f"{what} is published yet."),)
    text = (
        f"All systems of `{MAIN_PLAN}`, and of each other plan the one with the lowest WER on each "
        "set (of mixtures: ORC-WER). Intervals are over speakers, ± is over seeds. The best of "
        "many was picked on the test set itself, which flatters it: comparisons with their "
        "intervals stand on the plans' pages."
    )
    blocks: list[Block] = [Text(text), Table(_HEADER, tuple(rows[:_MAX_ROWS]), 4)]
    if len(rows) > _MAX_ROWS:
        blocks.append(Text(f"{len(rows) - _MAX_ROWS} more rows stand on the plans' pages."))
    return tuple(blocks)


def _headline_rows(plan: PlanResults) -> Iterator[tuple[str, ...]]:
    link = f"[{plan.name}]({_page(plan)})"
    for test_set, search, systems in systems_of(plan.runs, SetScores):
        for system in _chosen(plan, systems, _mean_rate):
            first = system.scores[0]
            flops = first.meta.flops_per_second
            yield (
                *(link, test_set, search, system.label, system.seeds, system.rate()),
                interval(system.interval()),
                number(first.delay.p50 if first.delay else None, 0),
                number(flops and flops / 1e9, 3),
            )
    for test_set, search, mixed in systems_of(plan.runs, MixtureScores):
        for system in _chosen(plan, mixed, _mean_rate):
            row = (link, test_set, search, system.label, system.seeds, system.rate())
            yield (*row, interval(system.interval()), DASH, DASH)
    for audit in plan.audits:
        cells = (link, DASH, DASH, audit.title, DASH, number(audit.wer.percent, 2))
        yield (*cells, interval(audit.interval), DASH, DASH)
    old = plan.imported.rows if plan.imported is not None else ()
    for test_set, search in sorted({(row.set, row.search) for row in old}):
        own = [row for row in old if (row.set, row.search) == (test_set, search)]
        for row in _chosen(plan, own, lambda r: r.wer):
            label = f"{row.label or row.model} (imported)"
            seeds = " ".join(map(str, row.seeds)) or DASH
            cells = (link, test_set, search, label, seeds, imported_rate(row))
            yield (*cells, interval(row.interval), DASH, DASH)


def _chosen(plan: PlanResults, rows: Sequence[T], rate: Callable[[T], float]) -> Sequence[T]:
    """The rows of the headline table: all of the main plan, of others the one of lowest rate."""
    return rows if plan.name == MAIN_PLAN else [min(rows, key=rate)]


def _mean_rate(system: System) -> float:
    return sum(system.percents()) / len(system.percents())

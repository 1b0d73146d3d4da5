"""RESULTS.md of a recipe: a headline table, and a few lines for each plan that is published.

RESULTS.md and results/<plan>/README.md are functions of results/ alone: the same folder gives the
same bytes, whatever lies in exp/.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from asrlib.experiments.store import RESULTS, MixtureScores, PlanResults, SetScores, read_store
from asrlib.files import atomic_write
from asrlib.report.document import Block, Document, Section, Table, Text, to_markdown
from asrlib.report.format import DASH, interval, number
from asrlib.report.plan_page import about_of, imported_rate, plan_document, skipped_sections
from asrlib.report.published import System, systems_of

MAX_LINES = 149
_MAX_ROWS = 30  # of the headline table
_HEADER = ("plan", "set", "search", "best system", "seeds", "WER %", "interval", "delay p50 ms")
_HEADER += ("GFLOP/s",)


def write_pages(recipe_dir: Path) -> list[Path]:
    """Write RESULTS.md and the page of each plan; none where nothing is published.

    Two processes that publish at once write one after the other, so that the last one has read
    what both published.
    """
    folder = recipe_dir / RESULTS
    if not folder.is_dir():
        return []
    with _alone(folder):
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
    yield recipe_dir / "RESULTS.md", results_text(recipe, plans)


def results_text(recipe: str, plans: Sequence[PlanResults]) -> str:
    """RESULTS.md; where plans are too many for its length, the last have one line each."""
    for full in range(len(plans), -1, -1):
        text = to_markdown(_document(recipe, plans, full))
        if text.count("\n") <= MAX_LINES:
            return text
    return text


def _document(recipe: str, plans: Sequence[PlanResults], full: int) -> Document:
    sections = [Section("Best systems", _headline(recipe, plans))]
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
        blocks.append(Text(f"Command: `{' '.join(about.command.split())}`"))
    blocks.append(Text(f"{_extent(plan)}: [tables, comparisons and runs]({_page(plan)})"))
    return Section(about.title, tuple(blocks))


def _extent(plan: PlanResults) -> str:
    parts = [f"{len(plan.runs)} runs"] if plan.runs else []
    if plan.imported is not None:
        parts.append(f"{len(plan.imported.rows)} rows imported from {plan.imported.commit}")
    return ", ".join(parts) or "Nothing published"


def _headline(recipe: str, plans: Sequence[PlanResults]) -> tuple[Block, ...]:
    rows = [row for plan in plans for row in _best_rows(recipe, plan)]
    if not rows:
        return (Text("Nothing is published yet."),)
    text = (
        "The system with the lowest WER on each set, by plan (of mixtures: ORC-WER). Rows of one "
        "plan are comparable; intervals resample speakers, ± is over seeds. The best of many is "
        "picked on the test set itself, which flatters it: comparisons stand on the plans' pages."
    )
    blocks: list[Block] = [Text(text), Table(_HEADER, tuple(rows[:_MAX_ROWS]), 4)]
    if len(rows) > _MAX_ROWS:
        blocks.append(Text(f"{len(rows) - _MAX_ROWS} more rows stand on the plans' pages."))
    return tuple(blocks)


def _best_rows(recipe: str, plan: PlanResults) -> Iterator[tuple[str, ...]]:
    link = f"[{plan.name}]({_page(plan)})"
    for test_set, search, systems in systems_of(plan.runs, SetScores):
        best = min(systems, key=_mean_rate)
        first = best.scores[0]
        flops = first.meta.flops_per_second
        yield (
            *(link, test_set, search, best.label, best.seeds, best.rate()),
            interval(best.interval()),
            number(first.delay.p50 if first.delay else None, 0),
            number(flops and flops / 1e9, 3),
        )
    for test_set, search, mixed in systems_of(plan.runs, MixtureScores):
        best = min(mixed, key=_mean_rate)
        ends = interval(best.interval())
        row = (link, test_set, search, best.label, best.seeds, best.rate(), ends)
        yield (*row, DASH, DASH)
    if plan.imported is not None:
        for test_set in sorted({row.set for row in plan.imported.rows}):
            row = min((r for r in plan.imported.rows if r.set == test_set), key=lambda r: r.wer)
            label = f"{row.label or row.model} (imported)"
            seeds = " ".join(map(str, row.seeds)) or DASH
            cells = (link, test_set, row.search, label, seeds, imported_rate(row))
            yield (*cells, interval(row.interval), DASH, DASH)


def _mean_rate(system: System) -> float:
    return sum(system.percents()) / len(system.percents())


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process writes pages of this folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

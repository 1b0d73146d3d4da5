"""results/fairness_MODEL.json: what is published about cohorts; sums over cohorts, no ids.

RESULTS.md shows the first rows of each of its tables, results/fairness_MODEL.md all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asrlib.errors import DataError
from asrlib.experiments.run_record import RunRecord, read_record
from asrlib.experiments.store import RESULTS
from asrlib.json_record import JsonRecord
from asrlib.mitigation.table import MitigationRow
from asrlib.report.document import Block, Document, Section, Table, Text
from asrlib.report.fairness.collect import Fairness, Method
from asrlib.report.fairness.words import bottom_name, lead_sentence
from asrlib.report.format import DASH, interval, number
from asrlib.scoring.confirmation import CohortRate
from asrlib.scoring.gaps import Comparison

_FILES = "fairness_*.json"
_ROWS = 10  # of each table of RESULTS.md
_AGAIN = "publish again: python -m asrlib publish"
_GAP = (
    "The gap is (bottom - top) / top; the top cohort, the best speakers of the same method, is not "
    "shown. 95 % of permutations of the speakers stay below 'chance'. p is corrected over all "
    "methods (Holm)."
)


@dataclass(frozen=True, kw_only=True)
class PublishedCohort(JsonRecord):
    """The bottom cohort of a method, on confirmation speakers.

    Attributes:
        method: how it was found.
        name: who is in it.
        bottom, rest: rates; None without speakers, or if a cohort of places has too few of them.
        gap: bottom against top, in per cent; `null` is the 95th percentile by permutation.
        p: corrected for the methods that were tried.
        detectable: smallest gap that would show, in per cent.
    """

    method: str
    name: str
    bottom: CohortRate | None
    rest: CohortRate | None
    gap: float | None
    null: float | None
    p: float | None
    detectable: float | None
    confirmed: bool


@dataclass(frozen=True, kw_only=True)
class PublishedRow(JsonRecord):
    """A mitigation, with its changes against general data.

    Attributes:
        kind: control, adapt or train.
        change, rest_change: of the bottom cohort and of all others.
        overall: rate of all speakers.
        gap: bottom against top, in per cent.
        worst_region: highest rate of a region, in per cent.
        regions_variance: variance of the regions' rates, in squared per cent.
        regions_tau2: the same without what the sampling of speakers adds.
        reason: why it succeeds or not.
    """

    label: str
    kind: str
    seeds: int
    bottom: CohortRate
    rest: CohortRate
    change: Comparison | None
    success: bool | None
    rest_change: Comparison | None = None
    overall: CohortRate | None = None
    gap: float | None = None
    worst_region: float | None = None
    regions_variance: float | None = None
    regions_tau2: float | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedFairness(JsonRecord):
    """fairness_MODEL.json.

    Attributes:
        lead: the one sentence.
        trained: the model whose errors showed the cohorts, and from which mitigations start; None
            if its training left no record.
        cohorts: by method, the worst first.
        mitigations: rows by heading of the table, the start first.
        curves: by the same heading, WER in per cent of all others and of the bottom cohort, along
            the interpolation between the start and the fine-tuned model.
        commands: by the same heading, what repeats the table.
    """

    lead: str
    trained: RunRecord | None
    cohorts: tuple[PublishedCohort, ...]
    mitigations: dict[str, tuple[PublishedRow, ...]]
    curves: dict[str, tuple[tuple[float, float], ...]]
    commands: dict[str, tuple[str, ...]] = field(default_factory=dict)


def publish_fairness(fairness: Fairness) -> Path | None:
    """Write the file of the model whose errors showed the cohorts; nothing without judged ones."""
    if not fairness.judged:
        return None
    cohorts = [_published_cohort(method, fairness.public) for method in fairness.judged]
    worst_first = sorted(cohorts, key=lambda c: (-(c.bottom.percent if c.bottom else 0), c.method))
    shown = [found for found in fairness.mitigations if not fairness.hides(found)]
    rows = {found.heading: tuple(map(_published_row, found.rows)) for found in shown}
    curves = {
        found.heading: tuple(
            (point.rates.rest.percent, point.rates.bottom.percent)
            for point in sorted(found.curve, key=lambda p: p.share)
        )
        for found in shown
    }
    trained = _trained(fairness)
    record = PublishedFairness(
        lead=lead_sentence(fairness),
        trained=trained,
        cohorts=tuple(worst_first),
        mitigations=rows,
        curves=curves,
        commands={found.heading: found.commands for found in shown},
    )
    path = fairness_file(fairness.recipe.dir, trained.name if trained else "unknown")
    path.parent.mkdir(exist_ok=True)
    record.to_file(path)
    return path


def _published_cohort(method: Method, public: bool) -> PublishedCohort:
    one = method.judged
    assert one is not None
    hide = one.bottom is not None and method.hides(one.bottom.speakers, public)
    return PublishedCohort(
        method=method.name,
        name=bottom_name(method),
        bottom=None if hide else one.bottom,
        rest=None if hide else one.rest,
        gap=one.confirmed.gap if one.confirmed and not hide else None,
        null=one.null_gap,
        p=one.p_holm,
        detectable=one.detectable_gap,
        confirmed=one.is_confirmed,
    )


def _published_row(row: MitigationRow) -> PublishedRow:
    changes, regional = row.against_control, row.regional
    return PublishedRow(
        label=row.label,
        kind=row.kind,
        seeds=len(row.seeds),
        bottom=row.rates.bottom,
        rest=row.rates.rest,
        change=changes.bottom if changes else None,
        success=None if row.verdict is None else row.verdict.success,
        rest_change=changes.rest if changes else None,
        overall=row.rates.overall,
        gap=row.rates.gap.gap if row.rates.gap else None,
        worst_region=regional.highest if regional else None,
        regions_variance=regional.raw_variance if regional else None,
        regions_tau2=regional.tau2 if regional else None,
        reason=None if row.verdict is None else row.verdict.reason,
    )


def _trained(fairness: Fairness) -> RunRecord | None:
    models = {m.record.discovery.model for m in fairness.judged if m.record is not None}
    if len(models) != 1:
        return None
    try:
        return read_record(fairness.recipe.exp / models.pop())
    except DataError:
        return None


def fairness_file(recipe_dir: Path, model: str) -> Path:
    """Where it is published for whom a model fails."""
    return recipe_dir / RESULTS / _FILES.replace("*", model)


def fairness_sections(recipe_dir: Path) -> list[Section]:
    """Of RESULTS.md, one for each model; nothing where nothing is published."""
    return [_section(path, recipe_dir) for path in _files(recipe_dir)]


def fairness_pages(recipe_dir: Path) -> Iterator[tuple[Path, Document]]:
    """results/fairness_MODEL.md, with all rows, for each model whose file can be read."""
    for path in _files(recipe_dir):
        try:
            found = PublishedFairness.from_file(path, _AGAIN)
        except DataError:  # RESULTS.md says so
            continue
        sections = [Section("Cohorts", (Text(found.lead), _cohorts(found, None), Text(_GAP)))]
        for heading, rows in found.mitigations.items():
            blocks = (_rows(rows), *_against_control(rows), *_curve(found.curves.get(heading, ())))
            sections.append(Section(heading, (*blocks, *_commands(found, heading))))
        recipe = f"egs/{recipe_dir.resolve().name}"
        footer = f"Written by `python -m asrlib results --recipe-dir {recipe}` from {path.name}."
        document = Document(_title(path), tuple(sections), footer)
        yield path.with_suffix(".md"), document


def _files(recipe_dir: Path) -> list[Path]:
    return sorted((recipe_dir / RESULTS).glob(_FILES))


def _title(path: Path) -> str:
    return f"Whom does it fail? ({path.stem.removeprefix(_FILES.split('*')[0])})"


def _section(path: Path, recipe_dir: Path) -> Section:
    title = _title(path)
    try:
        found = PublishedFairness.from_file(path, _AGAIN)
    except DataError as e:
        reason = e.what.removeprefix(f"{path}: ")
        return Section(title, (Text(f"{path.name}: {reason}."),))
    blocks: list[Block] = [Text(found.lead), *_how_made(found, recipe_dir), _cohorts(found, _ROWS)]
    blocks.append(Text(_GAP))
    page = f"{RESULTS}/{path.with_suffix('.md').name}"
    for heading, rows in found.mitigations.items():
        blocks += [Text(f"{heading}, before and after:"), _rows(rows[:_ROWS])]
        more = len(rows) - _ROWS
        told = f"{more} more rows, and what" if more > 0 else "What"
        blocks.append(Text(f"{told} decides about success: [{page}]({page})."))
        blocks += _commands(found, heading)
    return Section(title, tuple(blocks))


def _commands(found: PublishedFairness, heading: str) -> list[Block]:
    commands = found.commands.get(heading, ())
    if not commands:
        return []
    return [Text("Commands: " + ", then ".join(f"`{c}`" for c in commands) + ".")]


def _against_control(rows: Sequence[PublishedRow]) -> list[Block]:
    header = ("row", "rest against general data", "regions: variance", "between them")
    header += ("why success or not",)
    cells = tuple(
        (
            r.label,
            _change(r.rest_change),
            number(r.regions_variance, 2),
            number(r.regions_tau2, 2),
            r.reason or DASH,
        )
        for r in rows
    )
    return [Table(header, cells)]


def _curve(points: Sequence[tuple[float, float]]) -> list[Block]:
    if not points:
        return []
    said = ", ".join(f"{bottom:.2f} and {rest:.2f} %" for rest, bottom in points)
    return [Text(f"Between the start and the fine-tuned model, bottom and rest have {said}.")]


def _how_made(found: PublishedFairness, recipe_dir: Path) -> list[Block]:
    run = found.trained
    if run is None:
        return []
    commit = run.git.commit[:12] if run.git else "unknown"
    command = f"./run.sh --recipe {recipe_dir.resolve().name} --models {run.model}"
    text = f"Command: `{command}`, for the model {run.name} (seed {run.seed}); "
    return [Text(text + f"commit {commit}; {run.processor.cpu}, {run.device}.")]


def _cohorts(found: PublishedFairness, limit: int | None) -> Table:
    header = ("method", "bottom cohort", "bottom WER %", "rest WER %", "gap %", "chance %", "p")
    header += ("confirmed",)
    rows = tuple(
        (
            c.method,
            c.name,
            _rate(c.bottom),
            _rate(c.rest),
            number(c.gap, 0),
            "any" if c.null is None else number(c.null, 0),
            number(c.p, 4),
            "yes" if c.confirmed else "no",
        )
        for c in found.cohorts[:limit]
    )
    return Table(header, rows, 2)


def _rows(rows: Sequence[PublishedRow]) -> Table:
    header = ("row", "seeds", "bottom WER %", "rest WER %", "all WER %", "gap %")
    header += ("worst region %", "bottom against general data", "success")
    cells = tuple(
        (
            r.label,
            str(r.seeds),
            _rate(r.bottom),
            _rate(r.rest),
            _rate(r.overall),
            number(r.gap, 0),
            number(r.worst_region, 2),
            _change(r.change),
            DASH if r.success is None else ("yes" if r.success else "no"),
        )
        for r in rows
    )
    return Table(header, cells)


def _change(found: Comparison | None) -> str:
    if found is None:
        return DASH
    return f"{found.difference:+.2f} {interval(found.interval, sign='+')}"


def _rate(rate: CohortRate | None) -> str:
    return DASH if rate is None else f"{rate.percent:.2f} {interval(rate.interval)}"

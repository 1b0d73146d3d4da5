"""Tables and figures of test sets of one talker: errors, comparisons, groups, latency, compute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from statistics import mean, stdev

from asrlib.experiments.declared import SEED, why_not
from asrlib.experiments.runs import Run, representatives, systems
from asrlib.report import plots
from asrlib.report.document import Block, Figure, Section, Table, Text
from asrlib.report.error_kinds import error_kinds
from asrlib.report.format import (
    COMPARISON,
    DASH,
    GAP,
    comparison_cells,
    gap_cells,
    gflops,
    interval,
    number,
    params,
    quantiles,
    symbol_delay,
)
from asrlib.scoring.compare import compare_systems
from asrlib.scoring.groups import Group
from asrlib.scoring.latency import Histogram
from asrlib.scoring.score import ScoreConfig
from asrlib.scoring.wer import ErrorRate


def error_sections(runs: Sequence[Run], test_set: str, config: ScoreConfig) -> Iterator[Section]:
    """The table of error rates of a test set, and paired comparisons."""
    scores = runs[0].scores
    size = (
        f"{scores.utterances:,} utterances, {scores.wer.words:,} words, "
        f"{scores.speakers:,} speakers"
    )
    if scores.meta.audio_seconds:
        size += f", {scores.meta.audio_seconds / 60:,.1f} minutes"
    confidence = 100 * scores.resampling.confidence
    text = Text(f"{size}. In brackets: {confidence:g} % intervals over speakers.")
    yield Section(f"Test set {test_set}", (text, _main_table(runs)))
    comparisons = _comparisons(runs, config)
    if comparisons:
        yield Section(f"Paired comparisons on {test_set}", comparisons, 3)


def group_sections(runs: Sequence[Run], test_set: str, config: ScoreConfig) -> Iterator[Section]:
    """Error rates of groups that were given beforehand."""
    groups = _groups(runs, config.groups)
    if groups:
        yield Section(f"By group on {test_set}", tuple(groups))
    yield Section(f"Kinds of errors on {test_set}", error_kinds(runs), 3)


def compute_sections(runs: Sequence[Run], test_set: str) -> Iterator[Section]:
    """Errors against what decoding spent, for systems that spend differently."""
    points = {}
    for name, run in representatives(runs).items():
        spent, rate = run.scores.meta.flops_per_second, run.scores.wer.percent
        if spent is not None and rate is not None:
            points[name] = (spent / 1e9, rate, run.scores.interval)
    if len(points) > 1:
        said = "; ".join(f"{n} {y:.2f} % at {x:.2f}" for n, (x, y, _) in points.items())
        caption = f"WER against GFLOP a second of audio, with intervals over speakers: {said}."
        svg = plots.scatter({"GFLOP a second of audio": points}, "WER, %")
        yield Section(f"WER against compute on {test_set}", (Figure(svg, caption),))


def latency_sections(runs: Sequence[Run], test_set: str) -> Iterator[Section]:
    """How late words come out."""
    latency = _latency_figure(runs)
    if latency:
        yield Section(f"Latency on {test_set}", (latency,))


def _main_table(runs: Sequence[Run]) -> Table:
    header = (
        *("model", "search", "params M", "WER %", "interval", "ins", "del", "sub", "CER %"),
        *("SER %", "delay p50 / p90 ms", "final p50 / p90 ms", "RTF", "GFLOP/s", "memory MB"),
    )
    rows: list[tuple[str, ...]] = []
    strong = set()
    for (family, search), members in systems(runs).items():
        if len(members) > 1:
            strong.add(len(rows))
            head = (f"{family}, {len(members)} seeds", search, params(members[0]))
            blank = ("",) * 4
            wer, cer = ([m.scores.wer for m in members], [m.scores.cer for m in members])
            rows.append((*head, _spread(wer), *blank, _spread(cer)))
            rows[-1] += ("",) * (len(header) - len(rows[-1]))
        rows.extend(_run_row(run) for run in members)
    return Table(header, tuple(rows), 2, frozenset(strong))


def _spread(rates: Iterable[ErrorRate]) -> str:
    """Mean and standard deviation over seeds, in per cent."""
    percents = [100 * rate.rate for rate in rates]
    return f"{mean(percents):.2f} ± {stdev(percents):.2f}" if all(map(isfinite, percents)) else DASH


def _run_row(run: Run) -> tuple[str, ...]:
    scores, wer, latency = run.scores, run.scores.wer, run.scores.latency
    return (
        run.name,
        run.search,
        params(run),
        number(wer.percent, 2),
        interval(scores.interval),
        str(wer.insertions),
        str(wer.deletions),
        str(wer.substitutions),
        number(scores.cer.percent, 2),
        number(100 * scores.wrong_utterances / scores.utterances, 1),
        symbol_delay(run),
        quantiles(latency.finalisation_ms if latency else None),
        number(scores.meta.real_time_factor, 3),
        gflops(run, 2),
        number(scores.meta.peak_memory_mb, 0),
    )


def _comparisons(runs: Sequence[Run], config: ScoreConfig) -> tuple[Block, ...]:
    """Pairs of `score.pairs`; of those that differ in more than the model, why they are none."""
    rows, refused = [], []
    grouped = systems(runs)
    for search in sorted({r.search for r in runs}):
        for a, b in config.pairs:
            sides = grouped.get((a, search)), grouped.get((b, search))
            if sides[0] is None or sides[1] is None:
                continue
            one, other = sides[0][0], sides[1][0]
            decoded = one.scores.meta.config, other.scores.meta.config
            if reason := why_not(one.record, other.record, (SEED,), *decoded):
                refused.append(f"- {b} against {a}, {search}: {reason}")
                continue
            ours, theirs = ([r.decoding for r in side or ()] for side in sides)
            result = compare_systems(ours, theirs, config.confidence)
            rows.append((f"{b} against {a}", search, *comparison_cells(result)))
    header = ("systems", "search", "WER difference", *COMPARISON)
    blocks: list[Block] = [Table(header, tuple(rows), 2)] if rows else []
    if refused:
        blocks.append(Text("\n".join(["Not compared, for more than the model differs:", *refused])))
    return tuple(blocks)


def _groups(runs: Sequence[Run], order: Sequence[str]) -> list[Block]:
    chosen = representatives(runs)
    scored = {c for r in chosen.values() for c in r.scores.groups}
    columns = [c for c in order if c in scored] + sorted(scored - set(order))
    blocks: list[Block] = []
    for column in columns:
        tables = {
            n: r.scores.groups[column] for n, r in chosen.items() if column in r.scores.groups
        }
        first = next(iter(tables.values())).groups
        values = [g.value for g in first]
        cells = {n: {g.value: g for g in t.groups} for n, t in tables.items()}
        rows = [
            (
                f"{column}: {g.value}",
                str(g.speakers),
                f"{g.errors.words:,}",
                *(_group_cell(cells[n].get(g.value)) for n in tables),
            )
            for g in first
        ]
        header = (column, "speakers", "words", *(f"{n}, WER %" for n in tables))
        blocks.append(Table(header, tuple(rows), 1))
        gaps = [(n, *gap_cells(t.gap)) for n, t in tables.items() if t.gap]
        if gaps:
            blocks.append(Table((f"{column}, model", *GAP), tuple(gaps), 2))
        series = {n: [_group_point(cells[n].get(v)) for v in values] for n in tables}
        svg = plots.error_bars(values, series, "WER, %")
        blocks.append(Figure(svg, f"WER by {column}, with intervals over speakers."))
    return blocks


def _group_cell(group: Group | None) -> str:
    if group is None:
        return DASH
    small = "" if group.large_enough else " *"
    return f"{number(group.errors.percent, 2)} {interval(group.interval, 1)}{small}"


def _group_point(group: Group | None) -> tuple[float, Sequence[float] | None] | None:
    if group is None or group.errors.percent is None:
        return None
    return group.errors.percent, group.interval


def _latency_figure(runs: Sequence[Run]) -> Figure | None:
    panels: dict[str, dict[str, Histogram]] = {}
    for name, run in representatives(runs).items():
        if latency := run.scores.latency:
            delay, final = latency.symbol_delay_ms, latency.finalisation_ms
            for title, summary in (("Symbol delay", delay), ("Finalisation latency", final)):
                if summary:
                    panels.setdefault(title, {})[name] = summary.histogram
    if not panels:
        return None
    return Figure(plots.histograms(panels), "Latencies in stream time, bins of 40 ms.")

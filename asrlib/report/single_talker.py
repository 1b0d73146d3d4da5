"""The results of a recipe, from what lies in exp/, as one document.

Deterministic: the same exp/ gives the same bytes. No date, no path and no figure of the machine
that writes: only of the one that decoded, as scores.json tells it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import mean, stdev

from asrlib import __version__
from asrlib.errors import DataError
from asrlib.experiments.benchmarks import read_benchmark
from asrlib.experiments.declared import SEED, why_not
from asrlib.experiments.runs import (
    Run,
    collect_runs,
    curve_labels,
    of_set,
    plan_of,
    representatives,
    systems,
    training_commands,
)
from asrlib.experiments.store import MAIN_PLAN
from asrlib.experiments.training_log import Curve, read_curves, run_facts
from asrlib.report import plots
from asrlib.report.document import Block, Code, Document, Figure, Section, Table, Text, Verbatim
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
from asrlib.report.glossary import MEANINGS
from asrlib.report.meetings import collect_meetings, talkers_sections
from asrlib.report.plan_page import skipped_sections
from asrlib.report.plan_report import plan_report
from asrlib.report.verification import collect_verification, verification_sections
from asrlib.scoring.compare import compare_systems
from asrlib.scoring.groups import Group
from asrlib.scoring.latency import Histogram
from asrlib.scoring.records import row_commands
from asrlib.scoring.score import ScoreConfig
from asrlib.scoring.wer import ErrorRate


def build_document(recipe_dir: Path, config: ScoreConfig) -> Document:
    """Collect tables and figures of a recipe.

    Args:
        recipe_dir: holds exp/, and NOTES.md where people wrote some.

    Raises:
        DataError: nothing was scored yet.
    """
    exp, name = recipe_dir / "exp", f"egs/{recipe_dir.resolve().name}"
    runs, skipped = collect_runs(exp)
    meetings, broken = collect_meetings(exp)
    verified, unreadable = collect_verification(exp)
    if not (runs or meetings or verified or skipped or broken or unreadable):
        raise DataError(f"{exp}: holds no scores.json", "run the score stage (6) first")
    everything = (*runs, *meetings)
    names = sorted({r.name for r in everything})
    curves = {n: read_curves(exp / n) for n in names}
    main = [r for r in runs if plan_of(r) == MAIN_PLAN]
    sections: list[Section] = []
    for test_set in sorted({r.test_set for r in main}):
        sections.extend(_set_sections(of_set(main, test_set), test_set, config))
    for plan in sorted({plan_of(r) for r in everything} - {MAIN_PLAN}):
        of_plan = sorted({r.name for r in everything if plan_of(r) == plan})
        own = [r for r in runs if plan_of(r) == plan]
        sections.extend(plan_report(recipe_dir, plan, of_plan, own))
    sections.extend(talkers_sections(meetings, recipe_dir, config))
    sections.extend(verification_sections(verified))
    sections.extend(_training(curves, curve_labels(everything)))
    sections.extend(_speed(exp / "bench"))
    if runs:
        sections.append(_made_on(runs))
    sections.append(_commands(name, runs))
    if runs:
        sections.append(
            Section("How to read the columns", (Table(("column", "meaning"), MEANINGS, 2),))
        )
    sections.extend(skipped_sections([*skipped, *broken, *unreadable]))
    notes = recipe_dir / "NOTES.md"
    if notes.exists():
        sections.append(Section("Notes", (Verbatim(notes.read_text(encoding="utf-8")),)))
    footer = (
        f"Written by `python -m asrlib results --recipe-dir {name}` from what lies in exp/ "
        f"(version {__version__})."
    )
    return Document(f"Results of {name}", tuple(sections), footer)


def _set_sections(runs: Sequence[Run], test_set: str, config: ScoreConfig) -> Iterator[Section]:
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
    groups = _groups(runs, config.groups)
    if groups:
        yield Section(f"By group on {test_set}", tuple(groups), 3)
    yield Section(f"Kinds of errors on {test_set}", error_kinds(runs), 3)
    latency = _latency_figure(runs)
    if latency:
        yield Section(f"Latency on {test_set}", (latency,), 3)


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


def _training(
    curves: Mapping[str, Mapping[str, Curve]], labels: Mapping[str, str]
) -> list[Section]:
    rows = []
    for name, tags in curves.items():
        facts = run_facts(tags)
        if facts.steps is None:
            continue
        rows.append(
            (
                name,
                number(facts.steps, 0),
                number(facts.dev_loss, 4),
                number(facts.dev_delay, 0, 1000),
                number(facts.throughput, 0),
                number(facts.data_wait, 1, 100),
                number(facts.loss_share, 1, 100),
            )
        )
    if not rows:
        return []
    header = (
        *("model", "steps", "best dev loss", "dev delay ms", "audio s / s"),
        *("data wait %", "loss share %"),
    )
    blocks: list[Block] = [Table(header, tuple(rows))]
    wanted = {"train/loss": "Training loss", "dev/loss": "Dev loss", "dev/wer": "Dev WER"}
    panels: dict[str, dict[str, list[Curve]]] = {}
    for tag, title in wanted.items():
        for name, tags in curves.items():
            if tags.get(tag):
                seeds = panels.setdefault(title, {}).setdefault(labels[name], [])
                seeds.append(tags[tag])
    if panels:
        caption = "Learning curves; those of seeds have one colour."
        blocks.append(Figure(plots.curves(panels, "step"), caption))
    return [Section("Training", tuple(blocks))]


_SPEEDS = {
    "bare": "bare kaldifeat, one core, audio s / s",
    "stage": "fbank stage, reading and storing included, one core, audio s / s",
    "ratio": "fbank stage / bare kaldifeat",
    "throughput": "training, audio s / s",
    "data_wait": "training, share of the time spent waiting for data",
    "loss_share": "training, share of the time spent in the loss",
    "real_time_factor_1": "streaming real-time factor, one core, 1 stream",
    "real_time_factor_32": "streaming real-time factor, one core, 32 streams",
    "cpu_seconds_1": "CPU seconds a second of audio, 1 stream",
    "encoder_cpu_ms": "encoder alone, random weights, 1 stream, CPU ms / s of audio",
    "encoder_work_percent": "its work done, %",
    "hotwords": "hotwords, the words of the set that training has least often",
    "hotwords_said": "how often they are said in the set",
    "hotword_recall_without": "recall of them without hotwords, %",
    "hotword_recall": "recall of them with hotwords, %",
    "hotword_alarms_without": "false alarms of them without hotwords",
    "hotword_alarms": "false alarms of them with hotwords",
    "wer_without": "WER without hotwords, %",
    "wer": "WER with hotwords, %",
    "real_time_ratio": "real-time factor with language model and hotwords / without both",
    "meeting_minutes": "a meeting in one stream, one core, minutes of audio",
    "meeting_turns": "turns recognised in it",
    "meeting_real_time_factor": "its real-time factor",
    "meeting_early_memory_mb": "largest resident memory in its first tenth, MiB",
    "meeting_memory_mb": "largest resident memory in the rest of it, MiB",
}


def _speed(bench: Path) -> list[Section]:
    """What `python -m asrlib bench` left."""
    rows: list[tuple[str, ...]] = []
    commands: dict[str, None] = {}  # once each: one may have measured several models
    for path in sorted(bench.glob("*.json")):
        measured = read_benchmark(path)
        if measured.command is not None:
            commands[measured.command] = None
        labels = (measured.model, measured.set, measured.search, measured.piece)
        model = ", ".join(label for label in labels if label is not None)
        figures = ((text, getattr(measured, name)) for name, text in _SPEEDS.items())
        rows += [(text, model, f"{value:.4g}") for text, value in figures if value is not None]
    table = Table(("what", "model", "measured"), tuple(rows), 2)
    return [Section("Speed", (table, Code("\n".join(commands), "sh")))] if rows else []


def _made_on(runs: Sequence[Run]) -> Section:
    metas = [r.scores.meta for r in runs]
    machines = sorted({(m.machine.cpu, m.machine.cores) for m in metas if m.machine})
    lines = [f"{cpu}, {cores} cores" for cpu, cores in machines] or [DASH]
    settings = sorted({(meta.threads, meta.streams) for meta in metas}, key=str)
    used = "; ".join(f"{t or DASH} threads, {s or DASH} streams" for t, s in settings)
    seeds = sorted({r.record.seed for r in runs if r.record is not None})
    text = f"Decoded on: {'; '.join(lines)}. Decoding with: {used}."
    if seeds:
        text += f" Training seeds: {', '.join(map(str, seeds))}."
    versions = sorted({r.scores.version for r in runs})
    return Section("Made on", (Text(f"{text} Scored by version {', '.join(versions)}."),))


def _commands(recipe: str, runs: Sequence[Run]) -> Section:
    trained = training_commands(runs)
    lines = ["# trainings", *trained, ""] if trained else []
    if runs:
        lines += ["# one row of a table: decode, then score"]
    for run in representatives(runs).values():
        lines += row_commands(recipe, run.name, run.scores.meta, "score")
    lines += [""] if runs else []
    lines += ["# this page", f"python -m asrlib results --recipe-dir {recipe}"]
    return Section("Commands", (Code("\n".join(lines), "sh"),))

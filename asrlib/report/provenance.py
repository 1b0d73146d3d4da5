"""How the figures of a page were made: trainings, speed, machines, configurations, commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from asrlib.experiments.benchmarks import read_benchmark
from asrlib.experiments.runs import Run, representatives, training_commands
from asrlib.experiments.training_log import Curve, run_facts
from asrlib.report import plots
from asrlib.report.document import Block, Code, Figure, Section, Table, Text
from asrlib.report.format import DASH, commit_of, number
from asrlib.scoring.records import row_commands


def training_sections(
    curves: Mapping[str, Mapping[str, Curve]], labels: Mapping[str, str]
) -> list[Section]:
    """Figures of trainings and their learning curves."""
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
    "embedding": "speaker embedding from files, one core, audio s / CPU s",
    "throughput": "training, audio s / s",
    "data_wait": "training, share of the time spent waiting for data",
    "loss_share": "training, share of the time spent in the loss",
    "real_time_factor_1": "streaming real-time factor, one core, 1 stream",
    "real_time_factor_32": "streaming real-time factor, one core, 32 streams",
    "cpu_seconds_1": "CPU seconds a second of audio, 1 stream",
    "encoder_cpu_ms": "encoder alone, random weights, 1 stream, CPU ms / s of audio",
    "encoder_work_percent": "its work done, %",
    "meeting_minutes": "a meeting in one stream, one core, minutes of audio",
    "meeting_turns": "turns recognised in it",
    "meeting_real_time_factor": "its real-time factor",
    "meeting_early_memory_mb": "largest resident memory in its first tenth, MiB",
    "meeting_memory_mb": "largest resident memory in the rest of it, MiB",
}


def speed_section(bench: Path) -> list[Section]:
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


def made_on(runs: Sequence[Run]) -> Section:
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


def commands_section(recipe: str, runs: Sequence[Run]) -> Section:
    trained = training_commands(runs)
    lines = ["# trainings", *trained, ""] if trained else []
    if runs:
        lines += ["# one row of a table: decode, then score"]
    for run in representatives(runs).values():
        lines += row_commands(recipe, run.name, run.scores.meta, "score")
    lines += [""] if runs else []
    lines += ["# this page", f"python -m asrlib results --recipe-dir {recipe}"]
    return Section("Commands", (Code("\n".join(lines), "sh"),))


def run_sections(runs: Sequence[Run]) -> list[Section]:
    """Seed, commit and configuration of each training, where it left a record."""
    records = {run.name: run.record for run in runs if run.record is not None}
    if not records:
        return []
    rows = []
    for name, record in records.items():
        commit = commit_of(record.git)
        torch = record.versions.get("torch", DASH)
        rows.append((name, str(record.seed), commit, record.device, record.processor.cpu, torch))
    header = ("run", "seed", "commit", "device", "processor", "torch")
    blocks: list[Block] = [Table(header, tuple(rows))]
    shown = set()
    for name, record in records.items():
        if record.model not in shown:  # those of other seeds differ in the seed alone
            shown.add(record.model)
            text = yaml.safe_dump(record.config, sort_keys=True, allow_unicode=True)
            blocks.append(Code(text, "yaml", f"Configuration of {name}"))
    return [Section("Runs", tuple(blocks), 3)]

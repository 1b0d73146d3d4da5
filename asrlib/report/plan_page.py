"""results/<plan>/README.md: the tables of one plan, from what its folder holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import mean

from asrlib.experiments.run_scores import (
    MAIN_PLAN,
    MixtureScores,
    PublishedRun,
    Quantiles,
    SetScores,
)
from asrlib.experiments.store import About, Imported, ImportedRow, PlanResults, Skipped, Tuning
from asrlib.experiments.systems import group_systems
from asrlib.report.audit_page import audit_sections
from asrlib.report.document import Block, Code, Document, Section, Table, Text
from asrlib.report.format import (
    BY_SPEAKER,
    COMPARISON,
    DASH,
    GAP,
    commit_of,
    comparison_cells,
    gap_cells,
    interval,
    number,
    speaker_cells,
)
from asrlib.report.hotwords import hotword_section
from asrlib.report.memory import memory_sections
from asrlib.report.published import Pairing, System, pairings, reference_of, spread, systems_of
from asrlib.report.raised import raised_sections
from asrlib.report.simulation import discovery_section, simulation_sections
from asrlib.report.trust import damage_sections, fault_sections
from asrlib.report.verification import verification_sections
from asrlib.report.voice_pairs import voice_pair_sections

_SHOWN = 10  # skipped files that are named


def plan_document(recipe: str, plan: PlanResults) -> Document:
    """The page of a plan.

    Args:
        recipe: for example `egs/an4`.
    """
    about = about_of(recipe, plan)
    head: list[Block] = [Text(about.finding)] if about.finding else []
    if about.command:
        head.append(Code(about.command, "sh"))
    sections = [Section("What it is", tuple(head))] if head else []
    sections += [*plan_sections(plan), *_imported(plan.imported), *skipped_sections(plan.skipped)]
    footer = (
        f"Written by `python -m asrlib results --recipe-dir {recipe}` from the files of this "
        "folder. Intervals are of 95 % and over speakers (of mixtures: over sessions); the counts "
        "of seeds are added up. ± is the standard deviation over seeds."
    )
    return Document(about.title, tuple(sections), footer)


def about_of(recipe: str, plan: PlanResults) -> About:
    """What pages say of a plan, where it does not say so itself."""
    if plan.about is not None:
        return plan.about
    if plan.imported is not None:
        old = plan.imported
        return About(title=old.title or plan.name, finding=old.finding, command=old.command)
    if simulated := plan.simulation or plan.discovery:
        return About(title="How often the statistics are right", command=simulated.command)
    if plan.memory is not None:
        return About(title="Memory by the size of a corpus", command=plan.memory.command)
    if plan.hotwords is not None:
        commands = "\n".join(row.command for row in plan.hotwords.rows)
        return About(title="What hotwords bring and cost", command=commands)
    if plan.audits:
        return About(title="Audits of recognisers that others trained")
    name = recipe.rpartition("/")[2]
    if plan.name == MAIN_PLAN:
        return About(title="The pipeline as it is", command=f"./run.sh --recipe {name}")
    command = f"python -m asrlib plan {plan.name} --recipe-dir {recipe}"
    return About(title=f"Plan {plan.name}", command=command)


def plan_sections(plan: PlanResults) -> Iterator[Section]:
    """Scores, comparisons, cost and groups for each set and search; then the runs."""
    for test_set, search, systems in systems_of(plan.runs, SetScores):
        pairs = pairings(plan, systems)
        reference = reference_of(systems, plan.reference)
        blocks = [Text(_size(systems[0])), _scores(systems), *_pairs(reference, pairs)]
        blocks += [
            *_speakers(systems),
            Text("Cost, of the lowest seed:"),
            _cost(systems),
            *_gaps(systems),
        ]
        yield Section(f"{test_set}, {search}", tuple(blocks))
    for test_set, search, mixed in systems_of(plan.runs, MixtureScores):
        reference = reference_of(mixed, plan.reference)
        blocks = [_mixtures(mixed), *_by_voice(mixed), *_pairs(reference, pairings(plan, mixed))]
        yield Section(f"{test_set}, {search}", tuple(blocks))
    if plan.voice_pairs is not None:
        yield from voice_pair_sections(plan.voice_pairs)
    yield from _voices(plan.runs)
    yield from raised_sections([run.raised for run in plan.runs if run.raised is not None])
    if plan.tuning is not None:
        yield Section("Chosen on dev", _tuning(plan.tuning))
    if plan.simulation is not None:
        yield from simulation_sections(plan.simulation)
    if plan.discovery is not None:
        yield discovery_section(plan.discovery)
    if plan.faults is not None:
        yield from fault_sections(plan.faults)
    if plan.damage is not None:
        yield from damage_sections(plan.damage)
    if plan.memory is not None:
        yield from memory_sections(plan.memory)
    if plan.hotwords is not None:
        yield hotword_section(plan.hotwords)
    for audit in plan.audits:
        yield Section(audit.title, (Text(f"{audit.units:,} {audit.unit}s."),))
        for section in audit_sections(audit):
            yield replace(section, level=section.level + 1)
    if plan.runs:
        yield Section("Runs", (_runs(plan.runs),))


def _voices(runs: Sequence[PublishedRun]) -> list[Section]:
    """Speaker models; of each system the groups and curves of its lowest seed."""
    found = [replace(v, name=run.record.name) for run in runs for v in run.voices]
    systems = group_systems(runs, lambda run: run.record, lambda run: run.record.name)
    return verification_sections(found, {members[0].record.name for members in systems.values()})


def _size(system: System[SetScores]) -> str:
    scores = system.scores[0]
    size = f"{scores.utterances:,} utterances, {scores.wer.words:,} words, {len(scores.speakers):,}"
    return f"{size} speakers."


def _scores(systems: Sequence[System[SetScores]]) -> Table:
    header = ("system", "seeds", "WER %", "interval", "ins / del / sub %", "CER %", "SER %")
    header += ("delay p50 / p90 ms", "final p50 / p90 ms")
    rows = []
    for system in systems:
        first, scores = system.scores[0], system.scores
        wer = [s.wer for s in scores]
        words = sum(w.words for w in wer) or 1
        kinds = (sum(getattr(w, k) for w in wer) for k in ("insertions", "deletions"))
        shares = [*kinds, sum(w.substitutions for w in wer)]
        rows.append(
            (
                system.label,
                system.seeds,
                system.rate(),
                interval(system.interval()),
                " / ".join(f"{100 * n / words:.1f}" for n in shares),
                spread([100 * s.cer.rate for s in scores]),
                number(mean(100 * s.wrong_utterances / s.utterances for s in scores), 1),
                _latency(first.delay),
                _latency(first.final),
            )
        )
    return Table(header, tuple(rows))


def _speakers(systems: Sequence[System[SetScores]]) -> list[Block]:
    """How far the worst speakers are from the others; nothing of a set of one speaker."""
    if len(systems[0].counts()) < 2:
        return []
    text = (
        "By speaker: the mean of their rates, and the rate of the tenth of them with the highest "
        "rates, who are chosen by the same errors; the seeds are taken together."
    )
    rows = [(system.label, *speaker_cells(system.counts())) for system in systems]
    return [Text(text), Table(("system", *BY_SPEAKER), tuple(rows))]


def _latency(found: Quantiles | None) -> str:
    return DASH if found is None else f"{found.p50:.0f} / {found.p90:.0f}"


def _pairs(reference: System, pairs: Sequence[Pairing]) -> list[Block]:
    """Paired comparisons with the reference, and those that were refused."""
    blocks: list[Block] = []
    compared = [p for p in pairs if p.result is not None]
    if compared:
        blocks.append(Text(f"Difference to {reference.label}, in points; below zero is better:"))
        header = ("system", "difference", *COMPARISON, "speakers")
        rows = [
            (p.system.label, *comparison_cells(p.result), str(p.result.speakers))
            for p in compared
            if p.result is not None
        ]
        blocks.append(Table(header, tuple(rows)))
    refused = [p for p in pairs if p.refused is not None]
    if refused:
        text = f"Not compared with {reference.label}, since more differs than was declared: "
        blocks.append(Text(text + "; ".join(str(p.refused) for p in refused) + "."))
    return blocks


def _cost(systems: Sequence[System[SetScores]]) -> Table:
    header = ("system", "parameters, M", "GFLOP/s", "encoder work %", "RTF", "RTF, 1 stream")
    header += ("RTF, 32 streams", "memory MB", "processor")
    rows = []
    for system in systems:
        scores, meta = system.scores[0], system.scores[0].meta
        rows.append(
            (
                system.label,
                number(meta.parameters.decoding / 1e6 if meta.parameters else None, 2),
                number(meta.flops_per_second and meta.flops_per_second / 1e9, 3),
                number(meta.compute_share, 1, 100),
                number(meta.real_time_factor, 3),
                number(scores.rtf_1, 3),
                number(scores.rtf_32, 4),
                number(meta.peak_memory_mb, 0),
                meta.machine.cpu if meta.machine else DASH,
            )
        )
    return Table(header, tuple(rows))


def _gaps(systems: Sequence[System[SetScores]]) -> list[Block]:
    """The worst group against the best, of the lowest seed of each system."""
    rows = [
        (system.label, column, *gap_cells(gap))
        for system in systems
        for column, gap in system.scores[0].gaps.items()
    ]
    if not rows:
        return []
    text = (
        "The worst group against the best. Intervals hold for all pairs of groups together; "
        "chance: the gap that 5 % of random groups of the same sizes exceed; detectable: the "
        "smallest gap that would show with a probability of 80 %."
    )
    return [Text(text), Table(("system", "by", *GAP), tuple(rows), 3)]


def _mixtures(systems: Sequence[System[MixtureScores]]) -> Table:
    header = ("system", "seeds", "ORC-WER %", "interval", "cpWER %", "tcpWER %", "turns right %")
    header += ("start p50 ms", "end p50 ms", "out p50 ms")
    rows = []
    for system in systems:
        totals = [s.all for s in system.scores]
        counted = [t.turn_counting.percent for t in totals if t.turn_counting]
        first = totals[0]
        delays = (first.start_pointing_ms, first.end_pointing_ms, first.closing_ms)
        rows.append(
            (
                system.label,
                system.seeds,
                system.rate(),
                interval(system.interval()),
                spread([100 * t.cpwer.rate for t in totals]),
                spread([100 * t.tcpwer.rate for t in totals]),
                spread([p for p in counted if p is not None]),
                *(number(d.p50 if d else None, 0) for d in delays),
            )
        )
    return Table(header, tuple(rows))


def _by_voice(systems: Sequence[System[MixtureScores]]) -> Iterator[Block]:
    """Whether a speaker model names turns better than their channels do."""
    named = [(system.label, one.by_voice) for system in systems for one in system.scores]
    rows = [
        (
            label,
            found.speaker_model,
            f"{100 * found.cpwer.a.rate:.2f}",
            f"{100 * found.cpwer.b.rate:.2f}",
            f"{found.cpwer.difference:+.2f} {interval(found.cpwer.interval, sign='+')}",
            f"{found.turns:,} ({found.unnamed:,})",
        )
        for label, found in named
        if found is not None
    ]
    if rows:
        yield Text("cpWER with channels as names, and with turns named by voice (`name-turns`):")
        header = ("system", "voices of", "channels %", "voices %", "points", "turns (unnamed)")
        yield Table(header, tuple(rows), 2)


def _tuning(tuning: Tuning) -> tuple[Block, ...]:
    rows = []
    for model, trials in tuning.models.items():
        tried = ", ".join(f"{value}: {figure:.4f}" for value, figure in trials.dev.items())
        rows.append((model, trials.trial, tried, str(trials.chosen)))
    header = ("model", "tried with", f"{tuning.judged_by} on dev by value", "chosen")
    text = f"`{tuning.key}`, lowest {tuning.judged_by} on dev. Each trial: {tuning.budget}."
    return Text(text), Table(header, tuple(rows), 4)


def _runs(runs: Sequence[PublishedRun]) -> Table:
    header = ("run", "seed", "commit", "started", "device", "processor", "matrix code", "torch")
    rows = []
    for run in runs:
        record = run.record
        commit = commit_of(record.git)
        machine = record.processor
        rows.append(
            (
                *(record.name, str(record.seed), commit, record.started[:10], record.device),
                *(machine.cpu, machine.matrix_code or DASH, record.versions.get("torch", DASH)),
            )
        )
    return Table(header, tuple(rows), 1)


def _imported(imported: Imported | None) -> list[Section]:
    if imported is None:
        return []
    text = (
        f"Imported from commit {imported.commit}, {imported.source}: kept as they stood there, "
        "without records, so that they take no part in comparisons. Their intervals are percentile "
        "bootstraps over speakers (of mixtures: over sessions), which are too narrow where these "
        "are few. Options that their commands name may now be keys of the plan in conf/plans/."
    )
    extra = list(dict.fromkeys(key for row in imported.rows for key in row.more or {}))[:3]
    header = ("system", "set", "search", "seeds", "WER %", "interval", *extra, "note")
    rows = tuple(
        (
            row.label or row.model,
            row.set,
            row.search,
            " ".join(map(str, row.seeds)) or DASH,
            imported_rate(row),
            interval(row.interval),
            *((row.more or {}).get(key, DASH) for key in extra),
            row.note,
        )
        for row in imported.rows
    )
    return [Section("Imported rows", (Text(text), Table(header, rows, 3)))]


def imported_rate(row: ImportedRow) -> str:
    """Mean and standard deviation of an imported row, in per cent."""
    return spread(row.each) if len(row.each) > 1 else f"{row.wer:.2f}"


def skipped_sections(skipped: Sequence[Skipped]) -> list[Section]:
    """A line for each file that cannot be used; of many the first."""
    if not skipped:
        return []
    lines = [f"- `{s.path}`: {s.reason}" for s in skipped[:_SHOWN]]
    if len(skipped) > _SHOWN:
        lines.append(f"- and {len(skipped) - _SHOWN} more")
    return [Section("Skipped", (Text("\n".join(lines)),))]

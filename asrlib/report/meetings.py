"""The section "Two talkers" of a recipe's results, from the meetings.json files in exp/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asrlib.experiments.run_scores import MAIN_PLAN
from asrlib.experiments.runs import plan_of, scored_decodes, training_commands
from asrlib.experiments.store import Skipped, read_plan
from asrlib.meetings.metrics import MeetingSummary, TurnCounting
from asrlib.meetings.pointing import PointingSummary
from asrlib.meetings.score import SCORES_FILE, MeetingScores
from asrlib.report import plots
from asrlib.report.document import Block, Code, Figure, Section, Table, Text
from asrlib.report.format import DASH, interval, number
from asrlib.report.meeting_pairs import MeetingRun, pair_tables
from asrlib.scoring.records import row_commands
from asrlib.scoring.score import ScoreConfig

_PICTURES = 2  # of the first system; the others lie beside their scores

MEANINGS: tuple[tuple[str, str], ...] = (
    (
        "ORC-WER, cpWER, tcpWER %",
        "By meeteval, errors summed over the sessions. ORC: every true turn goes to the output "
        "channel that suits it best. cp: every output stream goes to the speaker that suits it "
        "best, so that a channel with several people on it errs even when every word is right: "
        "it takes known speakers. tcp: as cp, but words match only near their time.",
    ),
    (
        "turns %, > 2 turns %",
        "Share of the sessions in which as many turns were recognised as were spoken; the same "
        "of the sessions with more than two.",
    ),
    (
        "start, end",
        "Pointing latencies, in sessions whose turns were counted right: from the true start of a "
        "turn to the stream time at which <sot> came out, from its true end to <eot>; of a model "
        "with <cot> both are that symbol. Where word times are known, turns last from their first "
        "word to their last, else as long as their recordings, silence included. A channel's first "
        "start and last end have no symbol in the labels and do not count. `symbols`: how many "
        "were emitted of those that the labels have. These are times of the best path at the "
        "end: a beam may find an <eot> later than it put it. Intervals are over drawn "
        "sessions (expanded percentiles).",
    ),
    (
        "out",
        "From the true end of a turn to the stream time at which the recogniser handed the turn "
        "out, of the same turns: what somebody who waits for it sees.",
    ),
    (
        "right by both",
        "Sessions whose turns both systems counted right: the only ones on which their latencies "
        "are compared. In brackets after a median: the number of symbols.",
    ),
)


def collect_meetings(exp: Path) -> tuple[list[MeetingRun], list[Skipped]]:
    """All scored decodes of meeting sets, in order of set, name and search; and what is broken."""
    found, skipped = scored_decodes(exp, SCORES_FILE, MeetingScores)
    runs = [
        MeetingRun(folder.parent.name, record, scores.meta.set, scores.meta.search, folder, scores)
        for folder, record, scores in found
    ]
    return sorted(runs, key=lambda r: (r.test_set, r.name, r.search)), skipped


def talkers_sections(
    runs: Sequence[MeetingRun], recipe_dir: Path, config: ScoreConfig
) -> list[Section]:
    """Tables over all sessions and by condition, for each test set; none without runs."""
    sections = []
    recipe = f"egs/{recipe_dir.resolve().name}"
    plans = sorted(set(map(plan_of, runs)))
    references = {plan: read_plan(recipe_dir, plan).reference for plan in plans}
    for test_set in dict.fromkeys(r.test_set for r in runs):
        own = [r for r in runs if r.test_set == test_set]
        blocks: list[Block] = [Text(_size(own[0])), _main_table(own), _pointing_table(own)]
        blocks += [_by_condition(own), *pair_tables(own, config, references)]
        blocks += [*_plan_figure(own), *_pictures(own[0])]
        sections.append(Section(f"Two talkers: {test_set}", tuple(blocks)))
    if sections:
        commands = ["# mixtures", f"steps/make_mixtures.sh --recipe-dir {recipe}"]
        trained = training_commands(runs)
        commands += ["# trainings", *trained] if trained else []
        commands += ["# one row of a table: decode, then score"]
        for run in runs:
            commands += row_commands(recipe, run.name, run.scores.meta, "score-meetings")
        explained = Table(("column", "meaning"), MEANINGS, 2)
        code = Code("\n".join(commands), "sh")
        sections.append(Section("Two talkers: columns and commands", (explained, code), 3))
    return sections


def _size(run: MeetingRun) -> str:
    total, confidence = run.scores.all, run.scores.resampling.confidence
    return (
        f"{total.sessions:,} sessions, {total.turns:,} turns, {total.orcwer.words:,} words. "
        f"In brackets: {100 * confidence:g} % intervals over sessions."
    )


def _main_table(runs: Sequence[MeetingRun]) -> Table:
    header = (
        *("model", "search", "ORC-WER %", "interval", "ins", "del", "sub", "cpWER %"),
        *("tcpWER %", "turns %", "interval", "> 2 turns %", "RTF"),
    )
    return Table(header, tuple(_row(run) for run in runs), 2)


def _row(run: MeetingRun) -> tuple[str, ...]:
    total = run.scores.all
    orc = total.orcwer
    return (
        run.name,
        run.search,
        number(orc.percent, 2),
        interval(orc.interval),
        str(orc.insertions),
        str(orc.deletions),
        str(orc.substitutions),
        number(total.cpwer.percent, 2),
        number(total.tcpwer.percent, 2),
        *_counting(total.turn_counting),
        _counting(total.turn_counting_many)[0],
        number(run.scores.meta.real_time_factor, 3),
    )


def _pointing_table(runs: Sequence[MeetingRun]) -> Table:
    kinds = ("start", "end")
    columns = ("symbols", "mean ms", "p50 ms", "interval", "p90 ms")
    header = ("model", "search", *(f"{kind}: {column}" for kind in kinds for column in columns))
    rows = []
    for run in runs:
        total = run.scores.all
        found = (total.start_pointing_ms, total.end_pointing_ms)
        cells = (cell for p in found for cell in _pointing(p))
        rows.append((run.name, run.search, *cells, *_closing(total.closing_ms)))
    return Table((*header, "out: p50 ms", "p90 ms"), tuple(rows), 2)


def _pointing(found: PointingSummary | None) -> tuple[str, ...]:
    if found is None:
        return (DASH,) * 5
    return (
        f"{found.count} of {found.expected}",
        number(found.mean, 0),
        number(found.p50, 0),
        interval(found.p50_interval, 0),
        number(found.p90, 0),
    )


def _closing(found: PointingSummary | None) -> tuple[str, str]:
    return (DASH, DASH) if found is None else (number(found.p50, 0), number(found.p90, 0))


def _by_condition(runs: Sequence[MeetingRun]) -> Table:
    conditions = list(runs[0].scores.conditions)
    header = ("model", "search", *(f"{c or 'none'}, ORC-WER % (turns %)" for c in conditions))
    rows = []
    for run in runs:
        found = run.scores.conditions
        cells = (_condition(found.get(c)) for c in conditions)
        rows.append((run.name, run.search, *cells))
    return Table(header, tuple(rows), 2)


def _condition(summary: MeetingSummary | None) -> str:
    if summary is None:
        return DASH
    counted = _counting(summary.turn_counting)[0]
    return f"{number(summary.orcwer.percent, 1)} ({counted})"


def _plan_figure(runs: Sequence[MeetingRun]) -> list[Figure]:
    """Errors against when turns end, for the runs of plans: a panel for each plan and search."""
    panels: dict[str, dict[str, tuple[float, float, Sequence[float] | None]]] = {}
    for run in runs:
        plan = plan_of(run)
        ends, orc = run.scores.all.end_pointing_ms, run.scores.all.orcwer
        if plan != MAIN_PLAN and ends is not None and orc.percent is not None:
            panel = panels.setdefault(f"{plan}: end of a turn, p50, ms ({run.search})", {})
            panel[run.name] = (ends.p50, orc.percent, orc.interval)
    if not panels:
        return []
    return [Figure(plots.scatter(panels, "ORC-WER, %"), "Errors against when turns end.")]


def _pictures(run: MeetingRun) -> list[Block]:
    caption = "Who spoke when (above), and what {} recognised when (below): {}."
    paths = sorted((run.directory / "timelines").glob("*.svg"))
    # The last by name: the sessions that overlap most.
    return [
        Figure(path.read_text(encoding="utf-8"), caption.format(run.name, path.stem))
        for path in paths[-_PICTURES:]
    ]


def _counting(counted: TurnCounting | None) -> tuple[str, str]:
    if counted is None:
        return DASH, DASH
    return number(counted.percent, 1), interval(counted.interval)

"""A picture of a session: who spoke when, and what was recognised when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from asrlib.files import atomic_dir, file_name
from asrlib.meetings.metrics import Session
from asrlib.report.plots import STYLE, svg_text
from asrlib.report.style import COLOURS, INK, SOFT
from asrlib.text.turns import Turn

_LETTER = 0.085  # inches a letter takes, about


def timeline(session: Session, duration: float) -> str:
    """The SVG text of a session: a row a speaker, then a row an output channel.

    True turns are bars with their words. Below them each channel's recognised turns, outlined, with
    a triangle where `<sot>` came out and a bar where `<eot>` did. All in seconds of the stream.
    """
    speakers = list(dict.fromkeys(t.speaker or "?" for t in session.true))
    channels = sorted({t.channel for t in (*session.true, *session.recognised)})
    rows = [*speakers, *(f"channel {c}" for c in channels)]
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": f"timeline {session.id}"}):
        canvas = Canvas(figsize=(11, 0.9 + 0.55 * len(rows)), layout="constrained")
        axes = canvas.subplots()
        per_second = 9.5 / max(duration, 0.1)  # inches
        for turn in session.true:
            row = speakers.index(turn.speaker or "?")
            colour = COLOURS[turn.channel % len(COLOURS)]
            _bar(axes, turn, row, per_second, color=colour, alpha=0.75)
        for turn in session.recognised:
            row = len(speakers) + channels.index(turn.channel)
            colour = COLOURS[turn.channel % len(COLOURS)]
            _bar(axes, turn, row, per_second, facecolor="white", edgecolor=colour, linewidth=1.4)
            if turn.sot_time is not None:
                axes.plot(turn.sot_time, row, marker=">", color=colour)
            if turn.eot_time is not None:
                axes.plot(turn.eot_time, row, marker="|", color=colour, ms=16, mew=2.5)
        axes.set_yticks(range(len(rows)), rows, color=INK)
        axes.axhline(len(speakers) - 0.5, color=SOFT, lw=0.8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        last = max((t.end for t in session.recognised), default=0.0)
        axes.set_xlim(0, 1.01 * max(duration, last))
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("seconds")
        title = f"{session.id}   {len(session.true)} turns, {len(session.recognised)} recognised"
        axes.set_title(title, loc="left", fontsize=10.5)
        return svg_text(canvas)


def _bar(axes: Axes, turn: Turn, row: int, per_second: float, **look: Any) -> None:
    length = max(turn.end - turn.start, 0.02)
    axes.barh(row, length, left=turn.start, height=0.6, **look)
    room = int(length * per_second / _LETTER)
    words = turn.words if len(turn.words) <= room else turn.words[: max(room - 1, 0)] + "…"
    if room > 1:
        axes.text(turn.start + length / 2, row, words, ha="center", va="center", fontsize=8)


def write_timelines(
    directory: Path, sessions: Sequence[Session], durations: Mapping[str, float], each: int
) -> None:
    """Draw the first `each` sessions of every condition as ID.svg.

    Args:
        directory: is replaced as a whole.
        durations: length of each session in seconds, by id.
    """
    by_condition: dict[str, list[Session]] = {}
    for session in sessions:
        by_condition.setdefault(session.condition, []).append(session)
    with atomic_dir(directory) as temp:
        for session in (s for members in by_condition.values() for s in members[:each]):
            picture = timeline(session, durations[session.id])
            (temp / file_name(session.id, ".svg")).write_text(picture, encoding="utf-8")

"""Table of results/hotwords/hotwords.json: recall of rare words with hotwords, and its cost."""

from __future__ import annotations

from asrlib.experiments.hotword_record import HotwordRow, Hotwords
from asrlib.report.document import Section, Table, Text
from asrlib.report.format import commit_of, number

_TOLD = (
    "The hotwords are the words of the set that training has least often. A false alarm is a "
    "hotword that was recognised where it was not said. Time is that with hotwords and language "
    "model, divided by that of the same search without both: one stream on one core, in turn."
)
_HEADER = ("model", "set", "language model", "hotwords", "boost, nats", "said", "recognised")
_HEADER += ("false alarms", "WER %", "real-time factor", "time", "processor", "commit")


def hotword_section(found: Hotwords) -> Section:
    """The table; figures without hotwords stand in brackets."""
    return Section(
        "Recall of rare words", (Text(_TOLD), Table(_HEADER, tuple(map(_cells, found.rows)), 3))
    )


def _cells(row: HotwordRow) -> tuple[str, ...]:
    return (
        row.model,
        row.set,
        "yes" if row.language_model else "no",
        f"{row.hotwords}",
        f"{row.boost:g}",
        f"{row.said}",
        f"{row.found} ({row.found_without})",
        f"{row.alarms} ({row.alarms_without})",
        f"{number(row.wer, 2)} ({number(row.wer_without, 2)})",
        f"{row.real_time_factor:.3f}",
        f"{row.real_time_ratio:.2f}",
        row.machine.cpu,
        commit_of(row.git),
    )

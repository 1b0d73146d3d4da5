"""results/hotwords/hotwords.json: what `python -m asrlib bench hotwords` measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asrlib.experiments.run_record import GitState, git_state
from asrlib.json_record import JsonRecord
from asrlib.machine import machine
from asrlib.recipe import PROJECT_DIR
from asrlib.scoring.records import Machine

if TYPE_CHECKING:
    from asrlib.experiments.hotword_bench import HotwordGain
    from asrlib.streaming.settings import DecodeConfig


@dataclass(frozen=True, kw_only=True)
class HotwordRow(JsonRecord):
    """What hotwords brought and cost one model on one set.

    Attributes:
        model: its directory under exp/.
        set: name of the set, a directory under data/.
        language_model: whether all decodings used a language model.
        hotwords: number of hotwords.
        boost: nats that each piece of a hotword added.
        said: number of times that a hotword was said.
        found_without, found: number of these that were recognised, without and with hotwords.
        alarms_without, alarms: number of hotwords that were recognised where none was said.
        wer_without, wer: word error rates of the whole set, in per cent; None without words.
        real_time_factor: wall-clock seconds per second of audio, one stream on one core, with
            language model and hotwords.
        real_time_ratio: this factor divided by that of the same search without both.
        command: what repeats the measurement.
        machine: where it was measured.
        git: the commit; None where there is no repository.
    """

    model: str
    set: str
    language_model: bool
    hotwords: int
    boost: float
    said: int
    found_without: int
    found: int
    alarms_without: int
    alarms: int
    wer_without: float | None
    wer: float | None
    real_time_factor: float
    real_time_ratio: float
    command: str
    machine: Machine
    git: GitState | None

    @property
    def key(self) -> tuple[str, str, bool, float]:
        """What a newer row replaces."""
        return self.set, self.model, self.language_model, self.boost


@dataclass(frozen=True, kw_only=True)
class Hotwords(JsonRecord):
    """hotwords.json: a row for each model, set and boost, without and with a language model."""

    rows: tuple[HotwordRow, ...]

    def joined(self, older: Hotwords | None) -> Hotwords:
        """Return the rows with those that were measured before, in order of set and model."""
        rows = (*(older.rows if older else ()), *self.rows)
        found = {row.key: row for row in rows}
        return Hotwords(rows=tuple(found[key] for key in sorted(found)))


def row_of(
    gain: HotwordGain, name: str, test_set: str, config: DecodeConfig, command: str
) -> HotwordRow:
    """Return the row of a measurement that was made on this machine with this commit.

    Args:
        gain: what was measured.
        name: the model's directory under exp/.
        test_set: the set.
        config: settings of decoding.
        command: what repeats the measurement.
    """
    return HotwordRow(
        model=name,
        set=test_set,
        language_model=config.lm.in_use,
        hotwords=len(gain.hotwords),
        boost=config.hotwords.boost,
        said=gain.without.said,
        found_without=gain.without.found,
        found=gain.boosted.found,
        alarms_without=gain.without.false_alarms,
        alarms=gain.boosted.false_alarms,
        wer_without=gain.without.words.percent,
        wer=gain.boosted.words.percent,
        real_time_factor=gain.real_time_factor,
        real_time_ratio=gain.ratio,
        command=command,
        machine=Machine(**machine()),
        git=git_state(PROJECT_DIR),
    )

"""The committed store of results: `egs/<recipe>/results/<plan>/<run>.json`.

One file a run, written whole or not at all, so that two plans may publish at once. Everything that
people read (RESULTS.md, results/<plan>/README.md) is a pure function of this folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asrlib.experiments.run_record import RunRecord
from asrlib.json_record import JsonRecord
from asrlib.meetings.metrics import MeetingSummary
from asrlib.scoring.bootstrap import Interval
from asrlib.scoring.groups import Gap
from asrlib.scoring.records import DecodeMeta
from asrlib.scoring.wer import ErrorRate

FORMAT = 1
RESULTS = "results"  # below the recipe
MAIN_PLAN = "main"  # of runs outside any plan
IMPORTED_FILE = "imported.json"


class Counts(NamedTuple):
    """Word errors of one speaker or session; in the file a list."""

    insertions: int
    deletions: int
    substitutions: int
    words: int

    def errors(self) -> ErrorRate:
        return ErrorRate(*self)


class GroupCounts(NamedTuple):
    """Word errors of a group of speakers, and the interval of its rate, per cent."""

    speakers: int
    errors: int
    words: int
    interval: Interval | None


class Quantiles(NamedTuple):
    """Number, mean, median and 90th percentile of latencies, ms."""

    count: int
    mean: float
    p50: float
    p90: float


@dataclass(frozen=True, kw_only=True)
class SetScores(JsonRecord):
    """Scores of one decode of a test set of one talker.

    Attributes:
        meta: what was decoded, how, and what it cost.
        interval: of the word error rate, per cent, speakers resampled.
        delay, final: symbol delay and finalisation latency; None where word times are unknown.
        groups: by column and value, of groups that are large enough to be told apart.
        gaps: by column, the worst group against the best.
        speakers: by speaker id, or by a number that is the same in all runs of the recipe.
        rtf_1, rtf_32: real-time factors of 1 and 32 streams on one core, where they were measured.
    """

    meta: DecodeMeta
    wer: ErrorRate
    cer: ErrorRate
    utterances: int
    wrong_utterances: int
    interval: Interval | None
    delay: Quantiles | None
    final: Quantiles | None
    groups: dict[str, dict[str, GroupCounts]]
    gaps: dict[str, Gap]
    speakers: dict[str, Counts]
    rtf_1: float | None = None
    rtf_32: float | None = None


@dataclass(frozen=True, kw_only=True)
class MixtureScores(JsonRecord):
    """Scores of one decode of a set of mixtures.

    Attributes:
        sessions: by session, or its number: errors of ORC-WER.
        counted_right: of the sessions, those of which as many turns were recognised as were true.
    """

    meta: DecodeMeta
    all: MeetingSummary
    sessions: dict[str, Counts]
    counted_right: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PublishedRun(JsonRecord):
    """One file of the store.

    Attributes:
        record: what the run is.
        sets: by test set and search.
        mixtures: by mixture set and search.
        choice: dev figures by value tried, where the run's plan chose a value on dev.
    """

    record: RunRecord
    sets: tuple[SetScores, ...] = ()
    mixtures: tuple[MixtureScores, ...] = ()

    @property
    def plan(self) -> str:
        """Name of the folder that it lies in."""
        return self.record.plan or MAIN_PLAN

    @property
    def name(self) -> str:
        """Name of its file, without .json."""
        return self.record.name


@dataclass(frozen=True)
class Skipped:
    """A file or a run that cannot be used: a line under "Skipped", never an exception."""

    path: str
    reason: str


@dataclass(frozen=True)
class PlanResults:
    """What the store holds of one plan, in order of name."""

    name: str
    runs: tuple[PublishedRun, ...]
    skipped: tuple[Skipped, ...]


def plan_dir(recipe_dir: Path, plan: str) -> Path:
    """The folder of a plan's results."""
    return recipe_dir / RESULTS / plan


def write_run(recipe_dir: Path, run: PublishedRun) -> Path:
    """Write the run's file, in place of one of the same name, whole or not at all."""
    raise NotImplementedError


def read_plan(recipe_dir: Path, plan: str) -> PlanResults:
    """What is published of a plan; nothing where it has no folder. Never raises for a file."""
    raise NotImplementedError


def read_store(recipe_dir: Path) -> Sequence[PlanResults]:
    """What is published, by plan in order of name."""
    raise NotImplementedError

"""What one published run holds: a file of the store (`asrlib.experiments.store`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from asrlib.experiments.run_record import RunRecord
from asrlib.json_record import JsonRecord
from asrlib.meetings.metrics import MeetingSummary
from asrlib.meetings.turn_voices import TurnVoices
from asrlib.scoring.groups import Gap
from asrlib.scoring.records import DecodeMeta
from asrlib.scoring.speaker_sums import Interval
from asrlib.scoring.wer import ErrorRate
from asrlib.verification.raised import Raised
from asrlib.verification.records import Verification

MAIN_PLAN = "main"  # of runs outside any plan


class Counts(NamedTuple):
    """Word errors of one speaker or session; in the file a list."""

    insertions: int
    deletions: int
    substitutions: int
    words: int

    @property
    def rate(self) -> ErrorRate:
        """The same as an error rate."""
        return ErrorRate(*self)


class GroupCounts(NamedTuple):
    """Word errors of a group of speakers, and the interval of its rate in per cent."""

    speakers: int
    errors: int
    words: int
    interval: Interval | None


class Quantiles(NamedTuple):
    """Number, mean, median and 90th percentile of latencies, in ms."""

    count: int
    mean: float
    p50: float
    p90: float


@dataclass(frozen=True, kw_only=True)
class SetScores(JsonRecord):
    """Scores of one decode of a test set of one talker.

    Attributes:
        meta: what was decoded, how, and what it cost.
        interval: of the word error rate in per cent, over speakers.
        delay, final: symbol delay and finalisation latency; None where word times are unknown.
        groups: by column and value, of groups that are large enough to be told apart.
        gaps: by column, the worst group against the best.
        speakers: by speaker id, or by a number that is the same in all runs of the recipe.
        rtf_1, rtf_32, cpu_1: real-time factors of 1 and 32 streams on one core, and CPU seconds
            per second of audio of 1 stream, where they were measured.
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
    cpu_1: float | None = None


@dataclass(frozen=True, kw_only=True)
class MixtureScores(JsonRecord):
    """Scores of one decode of a set of mixtures.

    Attributes:
        all: over all sessions.
        sessions: by session, or its number: errors of ORC-WER.
        counted_right: the sessions of which as many turns were recognised as were spoken.
        by_voice: what changed when a speaker model named the turns, if it did.
    """

    meta: DecodeMeta
    all: MeetingSummary
    sessions: dict[str, Counts]
    counted_right: tuple[str, ...]
    by_voice: TurnVoices | None = None


@dataclass(frozen=True, kw_only=True)
class PublishedRun(JsonRecord):
    """One file of the store.

    Attributes:
        record: what the run is.
        sets, mixtures: one for each test set, or set of mixtures, and search.
        voices: of a speaker model, one for each test set; small groups are left out.
        raised: of a speaker model that was trained with reweighting, if it was asked.
    """

    record: RunRecord
    sets: tuple[SetScores, ...] = ()
    mixtures: tuple[MixtureScores, ...] = ()
    voices: tuple[Verification, ...] = ()
    raised: Raised | None = None

    @property
    def plan(self) -> str:
        """Name of the folder that it lies in."""
        return self.record.plan or MAIN_PLAN

    @property
    def scores(self) -> tuple[SetScores | MixtureScores, ...]:
        """All of them."""
        return (*self.sets, *self.mixtures)

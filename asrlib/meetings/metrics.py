"""Metrics that compare the recognised turns of a multi-talker recording with the true turns.

meeteval computes the word error rates: ORC-WER (each true turn is assigned to the output channel
that gives the fewest errors), cpWER (each output stream is assigned to the speaker that gives the
fewest errors) and tcpWER (like cpWER, but words match only if their times are close). Turn counting
follows arXiv 2205.05199: the count of a session (an utterance group of the paper) is correct if as
many turns are recognised as were spoken. `asrlib.meetings.pointing` computes the latencies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import meeteval
from meeteval.io import SegLST
from pydantic import computed_field
from scipy.stats import binomtest

from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.meetings.pointing import Pointing, PointingSummary, point, summarise_pointing
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import Interval, speaker_interval
from asrlib.scoring.wer import ErrorRate
from asrlib.text.turns import Turn

MEASURES = ("orcwer", "cpwer", "tcpwer")
MANY_TURNS = 2  # sessions with more turns are also reported separately, as in the paper


@dataclass(frozen=True)
class Session:
    """One recording with its true and its recognised turns.

    Attributes:
        id: the session_id of SegLST.
        condition: kind of recording, for example OV20; may be empty.
        true, recognised: turns, sorted by start time.
    """

    id: str
    condition: str
    true: tuple[Turn, ...]
    recognised: tuple[Turn, ...]

    @property
    def counted_right(self) -> bool:
        """Whether as many turns were recognised as were spoken."""
        return len(self.true) == len(self.recognised)


@dataclass(frozen=True)
class SessionScore:
    """Error counts and latencies of one session.

    Attributes:
        session: the scored session.
        errors: error counts by measure (`MEASURES`).
        starts, ends: latencies of the symbols `<sot>` and `<eot>`; empty if the turn count is
            wrong.
        closed: latencies with which the recogniser output finished turns; empty if the turn count
            is wrong.
    """

    session: Session
    errors: Mapping[str, ErrorRate]
    starts: Pointing
    ends: Pointing
    closed: Pointing


@dataclass(frozen=True)
class RateWithInterval(ErrorRate):
    """Error counts of several sessions.

    Attributes:
        interval: interval of the rate over sessions, in per cent; None with fewer than
            two sessions.
    """

    interval: Interval | None = None


@dataclass(frozen=True)
class TurnCounting(JsonRecord):
    """Accuracy of turn counting.

    Attributes:
        right: number of sessions in which as many turns were recognised as were spoken.
        sessions: number of all sessions.
        interval: Wilson's interval of the share right / sessions, in per cent; None with fewer than
            two sessions.
    """

    right: int
    sessions: int
    interval: Interval | None

    @computed_field
    @property
    def percent(self) -> float | None:
        """The share of correctly counted sessions, in per cent; None if there are no sessions."""
        return 100 * self.right / self.sessions if self.sessions else None


@dataclass(frozen=True)
class MeetingSummary(JsonRecord):
    """Metrics over several sessions.

    Attributes:
        sessions, turns, recognised_turns: numbers of sessions, true turns and recognised turns.
        orcwer, cpwer, tcpwer: word error counts by measure.
        turn_counting: turn counting in all sessions; None if there are none.
        turn_counting_many: turn counting in the sessions with more than two turns; None if there
            are none.
        start_pointing_ms, end_pointing_ms: latencies of the symbols `<sot>` and `<eot>`, in ms;
            None if no such symbol was emitted.
        closing_ms: latencies with which the recogniser output finished turns, in ms; None if it
            output none.
    """

    sessions: int
    turns: int
    recognised_turns: int
    orcwer: RateWithInterval
    cpwer: RateWithInterval
    tcpwer: RateWithInterval
    turn_counting: TurnCounting | None
    turn_counting_many: TurnCounting | None
    start_pointing_ms: PointingSummary | None
    end_pointing_ms: PointingSummary | None
    closing_ms: PointingSummary | None


def make_sessions(
    conditions: Mapping[str, str], true: Iterable[Turn], recognised: Iterable[Turn]
) -> list[Session]:
    """Group turns by session and sort the sessions by id.

    Recognised turns without words are dropped.

    Args:
        conditions: condition of each session of the set, by session id.
        true, recognised: turns of all sessions, in any order.

    Raises:
        DataError: a turn belongs to a session that is not in the set, or a session has no true
            turn.
    """
    sides: tuple[dict[str, list[Turn]], ...] = ({}, {})
    for side, turns in zip(sides, (true, recognised), strict=True):
        for turn in turns:
            if turn.session not in conditions:
                raise DataError(
                    f"{turn.session}: no such session in the set", "decode again with --force"
                )
            if turn.words or side is sides[0]:
                side.setdefault(turn.session, []).append(turn)
    silent = sorted(set(conditions) - set(sides[0]))
    if silent:
        raise DataError(
            f"session {silent[0]}: has no true turn", "make the mixtures again with --force"
        )

    def ordered(turns: Sequence[Turn]) -> tuple[Turn, ...]:
        return tuple(sorted(turns, key=lambda t: (t.start, t.channel)))

    return [
        Session(s, conditions[s], ordered(sides[0][s]), ordered(sides[1].get(s, ())))
        for s in sorted(conditions)
    ]


def score_sessions(sessions: Sequence[Session], collar: float = 5.0) -> list[SessionScore]:
    """Score each session; the result has the order of `sessions`.

    Args:
        collar: largest distance in time at which tcpWER matches two words, in seconds.
    """
    reference = to_seglst(turn for session in sessions for turn in session.true)
    channels, speakers = (
        to_seglst(hypotheses(sessions, by_channel=channels)) for channels in (True, False)
    )
    with _long_words_are_no_fault():
        found = {
            "orcwer": meeteval.wer.orcwer(reference, channels),
            "cpwer": meeteval.wer.cpwer(reference, speakers),
            "tcpwer": meeteval.wer.tcpwer(reference, speakers, collar=collar),
        }
    return [
        SessionScore(
            session,
            {measure: _error_rate(rates[session.id]) for measure, rates in found.items()},
            *point(session.true, session.recognised),
        )
        for session in sessions
    ]


@contextmanager
def _long_words_are_no_fault() -> Iterator[None]:
    """Suppress a meeteval warning that does not apply here.

    meeteval warns, once for each session, that words longer than the collar suggest times in
    samples. Our times are in seconds; a turn in which few words were recognised has a large
    duration per word.
    """

    def wanted(record: logging.LogRecord) -> bool:
        return "mean word length" not in record.getMessage()

    meetevals = logging.getLogger("preprocess")
    meetevals.addFilter(wanted)
    try:
        yield
    finally:
        meetevals.removeFilter(wanted)


def hypotheses(sessions: Iterable[Session], *, by_channel: bool) -> list[Turn]:
    """List the recognised turns in the form that meeteval expects.

    meeteval needs every session, so a session without recognised turns gets one empty turn.

    Args:
        by_channel: whether an output stream is a channel (for ORC-WER) or, where the speaker is
            known, a speaker (for cpWER and tcpWER).
    """
    turns = []
    for session in sessions:
        found = session.recognised or (Turn(session.id, 0, 0.0, 0.0, ""),)
        turns += [replace(turn, speaker=None) if by_channel else turn for turn in found]
    return turns


def to_seglst(turns: Iterable[Turn]) -> SegLST:
    """Convert turns to the input of meeteval's functions."""
    segments: list[Any] = [turn.to_seglst() for turn in turns]
    return SegLST(segments)


def _error_rate(rate: Any) -> ErrorRate:
    return ErrorRate(rate.insertions, rate.deletions, rate.substitutions, rate.length)


def summary(scores: Sequence[SessionScore], resampling: Resampling) -> MeetingSummary:
    """Sum up the scores of several sessions.

    The intervals are over sessions, not speakers, because a session has several speakers and a
    speaker may occur in several sessions.
    """
    rates = {measure: _rate(scores, measure, resampling) for measure in MEASURES}
    starts, ends, closed = (
        summarise_pointing(symbols, resampling)
        for symbols in (
            {s.session.id: s.starts for s in scores},
            {s.session.id: s.ends for s in scores},
            {s.session.id: s.closed for s in scores},
        )
    )
    many = [s for s in scores if len(s.session.true) > MANY_TURNS]
    return MeetingSummary(
        sessions=len(scores),
        turns=sum(len(s.session.true) for s in scores),
        recognised_turns=sum(len(s.session.recognised) for s in scores),
        **rates,
        turn_counting=_counting(scores, resampling),
        turn_counting_many=_counting(many, resampling),
        start_pointing_ms=starts,
        end_pointing_ms=ends,
        closing_ms=closed,
    )


def _rate(scores: Sequence[SessionScore], measure: str, resampling: Resampling) -> RateWithInterval:
    by_session = {s.session.id: s.errors[measure] for s in scores}
    interval = speaker_interval(by_session, resampling.confidence)
    total = ErrorRate.sum(by_session.values())
    return RateWithInterval(**vars(total), interval=interval and interval.percent())


def _counting(scores: Sequence[SessionScore], resampling: Resampling) -> TurnCounting | None:
    if not scores:
        return None
    right = sum(s.session.counted_right for s in scores)
    ends = None
    if len(scores) > 1:
        found = binomtest(right, len(scores)).proportion_ci(resampling.confidence, "wilson")
        ends = Interval(float(found.low), float(found.high)).percent()
    return TurnCounting(right, len(scores), ends)

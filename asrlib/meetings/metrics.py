"""Scores of recognised turns against true ones: several talkers, one recording.

Word error rates by meeteval: ORC-WER (each true turn goes to the output channel that suits best),
cpWER (each output stream to the speaker that suits best) and tcpWER (the same, with words allowed
to match near their time only). Turn counting by the rule of arXiv 2205.05199: a session (its
utterance group) is counted right when as many turns are recognised as were spoken. Latencies:
`asrlib.meetings.pointing`.
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

from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.meetings.pointing import Pointing, PointingSummary, point, summarise_pointing
from asrlib.scoring.bootstrap import Interval, Resampling, speaker_interval
from asrlib.scoring.wer import ErrorRate
from asrlib.text.turns import Turn

MEASURES = ("orcwer", "cpwer", "tcpwer")
MANY_TURNS = 2  # sessions of more are reported apart, as in the paper


@dataclass(frozen=True)
class Session:
    """One recording that is scored: what was said and what was recognised.

    Attributes:
        id: SegLST's session_id.
        condition: kind of recording, for example OV20; may be empty.
        true, recognised: turns in order of start.
    """

    id: str
    condition: str
    true: tuple[Turn, ...]
    recognised: tuple[Turn, ...]

    @property
    def counted_right(self) -> bool:
        return len(self.true) == len(self.recognised)


@dataclass(frozen=True)
class SessionScore:
    """A session's sums.

    Attributes:
        errors: by measure (`MEASURES`).
        starts, ends, closed: its turn symbols, and when turns were handed out; none where the count
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
        interval: of the rate, in per cent, sessions resampled; None with fewer than two.
    """

    interval: Interval | None = None


@dataclass(frozen=True)
class TurnCounting(JsonRecord):
    """In how many of the sessions as many turns were recognised as were spoken.

    Attributes:
        interval: of the share, in per cent, sessions resampled; None with fewer than two.
    """

    right: int
    sessions: int
    interval: Interval | None

    @computed_field
    @property
    def percent(self) -> float | None:
        """The share in per cent; None of no session."""
        return 100 * self.right / self.sessions if self.sessions else None


@dataclass(frozen=True)
class MeetingSummary(JsonRecord):
    """What was found in several sessions.

    Attributes:
        sessions, turns, recognised_turns: how many there are.
        turn_counting_many: of the sessions with more than two turns; None where there is none.
        start_pointing_ms, end_pointing_ms: latencies of turn symbols; None where none was emitted.
        closing_ms: how late turns were handed out; None where none was.
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
    """Turns by session, in order of its id; recognised turns without words are no turns.

    Args:
        conditions: of every session of the set, by id.

    Raises:
        DataError: a turn of a session that is not in the set, or a session without a true turn.
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
    """Errors and turn symbols of each session, in order.

    Args:
        collar: s by which a word may be off for tcpWER.
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
    """Without meeteval's warning, once a session, that words longer than the collar look like times
    in samples: ours are seconds, and a turn with few of its words recognised is long for them."""

    def wanted(record: logging.LogRecord) -> bool:
        return "mean word length" not in record.getMessage()

    meetevals = logging.getLogger("preprocess")
    meetevals.addFilter(wanted)
    try:
        yield
    finally:
        meetevals.removeFilter(wanted)


def hypotheses(sessions: Iterable[Session], *, by_channel: bool) -> list[Turn]:
    """What meeteval is given: every session is there, one with nothing recognised as an empty turn.

    Args:
        by_channel: an output stream is a channel (ORC-WER), else a speaker where one is known.
    """
    turns = []
    for session in sessions:
        found = session.recognised or (Turn(session.id, 0, 0.0, 0.0, ""),)
        turns += [replace(turn, speaker=None) if by_channel else turn for turn in found]
    return turns


def to_seglst(turns: Iterable[Turn]) -> SegLST:
    """The turns for meeteval's functions."""
    segments: list[Any] = [turn.to_seglst() for turn in turns]
    return SegLST(segments)


def _error_rate(rate: Any) -> ErrorRate:
    return ErrorRate(rate.insertions, rate.deletions, rate.substitutions, rate.length)


def summary(scores: Sequence[SessionScore], resampling: Resampling) -> MeetingSummary:
    """Sums, rates, and intervals by resampling sessions (people recur in several of them)."""
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
    interval = speaker_interval(by_session, resampling)
    total = ErrorRate.sum(by_session.values())
    return RateWithInterval(**vars(total), interval=interval and interval.percent())


def _counting(scores: Sequence[SessionScore], resampling: Resampling) -> TurnCounting | None:
    if not scores:
        return None
    wrong = {
        s.session.id: ErrorRate(substitutions=int(not s.session.counted_right), words=1)
        for s in scores
    }
    errors = ErrorRate.sum(wrong.values())
    interval = speaker_interval(wrong, resampling)
    right = interval and Interval(1 - interval.high, 1 - interval.low).percent()
    return TurnCounting(errors.correct, errors.words, right)

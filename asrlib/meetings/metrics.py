"""Scores of recognised turns against true ones: several talkers, one recording.

Word error rates by meeteval: ORC-WER (each true turn goes to the output channel that suits best),
cpWER (each output stream to the speaker that suits best) and tcpWER (the same, with words allowed
to match near their time only). Turn counting by the rule of arXiv 2205.05199: a group is counted
right when as many turns are recognised as were spoken. Latencies: `asrlib.meetings.pointing`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import meeteval
from meeteval.io import SegLST

from asrlib.errors import DataError
from asrlib.meetings.pointing import Pointing, point, pointing_json
from asrlib.scoring.bootstrap import Interval, Resampling, speaker_interval
from asrlib.scoring.wer import ErrorRate
from asrlib.text.turns import Turn

MEASURES = ("orcwer", "cpwer", "tcpwer")
MANY_TURNS = 2  # groups of more are reported apart, as in the paper


@dataclass(frozen=True)
class Session:
    """One mixture (the paper's utterance group): what was said and what was recognised.

    Attributes:
        condition: of the mixture, for example OV20; may be empty.
        true, recognised: turns in order of start.
    """

    session: str
    condition: str
    true: tuple[Turn, ...]
    recognised: tuple[Turn, ...]

    @property
    def counted_right(self) -> bool:
        return len(self.true) == len(self.recognised)


@dataclass(frozen=True)
class SessionScore:
    """A group's sums.

    Attributes:
        errors: by measure (`MEASURES`).
        starts, ends, closed: its turn symbols, and when turns were handed out; none where the count
            is wrong.
    """

    group: Session
    errors: Mapping[str, ErrorRate]
    starts: Pointing
    ends: Pointing
    closed: Pointing


def make_sessions(
    conditions: Mapping[str, str], true: Iterable[Turn], recognised: Iterable[Turn]
) -> list[Session]:
    """Turns by mixture, in order of its id; recognised turns without words are no turns.

    Args:
        conditions: of every mixture of the set, by id.

    Raises:
        DataError: a turn of a mixture that is not in the set, or a mixture without a true turn.
    """
    sides: tuple[dict[str, list[Turn]], ...] = ({}, {})
    for side, turns in zip(sides, (true, recognised), strict=True):
        for turn in turns:
            if turn.session not in conditions:
                raise DataError(
                    f"{turn.session}: no such mixture in the set", "decode again with --force"
                )
            if turn.words or side is sides[0]:
                side.setdefault(turn.session, []).append(turn)
    silent = sorted(set(conditions) - set(sides[0]))
    if silent:
        raise DataError(
            f"mixture {silent[0]}: has no true turn", "make the mixtures again with --force"
        )

    def ordered(turns: Sequence[Turn]) -> tuple[Turn, ...]:
        return tuple(sorted(turns, key=lambda t: (t.start, t.channel)))

    return [
        Session(s, conditions[s], ordered(sides[0][s]), ordered(sides[1].get(s, ())))
        for s in sorted(conditions)
    ]


def score_sessions(groups: Sequence[Session], collar: float = 5.0) -> list[SessionScore]:
    """Errors and turn symbols of each group, in order.

    Args:
        collar: s by which a word may be off for tcpWER.
    """
    reference = to_seglst(t for g in groups for t in g.true)
    channels, speakers = (
        to_seglst(hypotheses(groups, by_channel=channels)) for channels in (True, False)
    )
    with _long_words_are_no_fault():
        found = {
            "orcwer": meeteval.wer.orcwer(reference, channels),
            "cpwer": meeteval.wer.cpwer(reference, speakers),
            "tcpwer": meeteval.wer.tcpwer(reference, speakers, collar=collar),
        }
    return [
        SessionScore(
            group,
            {measure: _error_rate(rates[group.session]) for measure, rates in found.items()},
            *point(group.true, group.recognised),
        )
        for group in groups
    ]


@contextmanager
def _long_words_are_no_fault() -> Iterator[None]:
    """Without meeteval's warning, once a mixture, that words longer than the collar look like times
    in samples: ours are seconds, and a turn with few of its words recognised is long for them."""

    def wanted(record: logging.LogRecord) -> bool:
        return "mean word length" not in record.getMessage()

    meetevals = logging.getLogger("preprocess")
    meetevals.addFilter(wanted)
    try:
        yield
    finally:
        meetevals.removeFilter(wanted)


def hypotheses(groups: Iterable[Session], *, by_channel: bool) -> list[Turn]:
    """What meeteval is given: every session is there, one with nothing recognised as an empty turn.

    Args:
        by_channel: an output stream is a channel (ORC-WER), else a speaker where one is known.
    """
    turns = []
    for group in groups:
        found = group.recognised or (Turn(group.session, 0, 0.0, 0.0, ""),)
        turns += [replace(turn, speaker=None) if by_channel else turn for turn in found]
    return turns


def to_seglst(turns: Iterable[Turn]) -> SegLST:
    """The turns for meeteval's functions."""
    return SegLST([turn.to_seglst() for turn in turns])


def _error_rate(rate: Any) -> ErrorRate:
    return ErrorRate(rate.insertions, rate.deletions, rate.substitutions, rate.length)


def summary(scores: Sequence[SessionScore], resampling: Resampling) -> dict[str, Any]:
    """Sums, rates, and intervals by resampling mixtures (people recur in several of them)."""
    wer = {}
    for measure in MEASURES:
        by_session = {s.group.session: s.errors[measure] for s in scores}
        total = ErrorRate.sum(by_session.values())
        wer[measure] = total.to_json() | _interval(speaker_interval(by_session, resampling))
    many = [s for s in scores if len(s.group.true) > MANY_TURNS]
    return {
        "groups": len(scores),
        "turns": sum(len(s.group.true) for s in scores),
        "recognised_turns": sum(len(s.group.recognised) for s in scores),
        **wer,
        "turn_counting": _counting(scores, resampling),
        "turn_counting_many": _counting(many, resampling),
        "start_pointing_ms": pointing_json({s.group.session: s.starts for s in scores}, resampling),
        "end_pointing_ms": pointing_json({s.group.session: s.ends for s in scores}, resampling),
        "closing_ms": pointing_json({s.group.session: s.closed for s in scores}, resampling),
    }


def _counting(scores: Sequence[SessionScore], resampling: Resampling) -> dict[str, Any] | None:
    if not scores:
        return None
    wrong = {
        s.group.session: ErrorRate(substitutions=int(not s.group.counted_right), words=1)
        for s in scores
    }
    errors = ErrorRate.sum(wrong.values())
    interval = speaker_interval(wrong, resampling)
    right = Interval(1 - interval.high, 1 - interval.low) if interval else None
    return {
        "right": errors.correct,
        "groups": errors.words,
        "percent": 100 * errors.correct / errors.words,
    } | _interval(right)


def _interval(interval: Interval | None) -> dict[str, Any]:
    return {"interval": interval and interval.percent()}

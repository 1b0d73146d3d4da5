"""Score one decode of a set of multi-talker sessions and write the results to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asrlib import __version__
from asrlib.data.reference_turns import REFERENCE_FILE
from asrlib.files import atomic_write
from asrlib.json_record import JsonRecord
from asrlib.meetings.metrics import (
    MEASURES,
    MeetingSummary,
    Session,
    SessionScore,
    hypotheses,
    make_sessions,
    score_sessions,
    summary,
)
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.records import DecodeMeta, read_utterances
from asrlib.scoring.score import ScoreConfig
from asrlib.scoring.wer import ErrorRate
from asrlib.text.turns import TURNS_FILE, Turn, read_turns, write_turns

# Raise it when the output of `score-meetings` changes; see asrlib/stamps.py.
SCORE_MEETINGS_VERSION = 3

# Recognised turns by channel (for ORC-WER) and by speaker where known (for cpWER and tcpWER).
CHANNELS_FILE, SPEAKERS_FILE = "channels.seglst.json", "speakers.seglst.json"
SCORES_FILE = "meetings.json"
OUTPUTS = (SCORES_FILE, "wer.txt", CHANNELS_FILE, SPEAKERS_FILE)


@dataclass(frozen=True)
class SessionRow(JsonRecord):
    """Error counts and latencies of one session, without its words.

    Attributes:
        session: id of the session.
        condition: kind of recording, for example OV20; may be empty.
        turns, recognised: number of true and of recognised turns.
        orcwer, cpwer, tcpwer: word error counts by measure.
        start_pointing_ms, end_pointing_ms: latencies of the emitted symbols `<sot>` and `<eot>`, in
            ms; empty if the turn count is wrong.
        closing_ms: latencies with which the recogniser output finished turns, in ms; empty if the
            turn count is wrong.
    """

    session: str
    condition: str
    turns: int
    recognised: int
    orcwer: ErrorRate
    cpwer: ErrorRate
    tcpwer: ErrorRate
    start_pointing_ms: tuple[float, ...]
    end_pointing_ms: tuple[float, ...]
    closing_ms: tuple[float, ...]

    @property
    def counted_right(self) -> bool:
        """Whether as many turns were recognised as were spoken."""
        return self.turns == self.recognised


@dataclass(frozen=True)
class MeetingScores(JsonRecord):
    """Content of meetings.json: all scores of one decoded set of sessions.

    Attributes:
        version: version of the program that computed the scores.
        meta: what was decoded, and at what cost.
        all: metrics over all sessions.
        conditions: metrics over the sessions of each condition.
        collar: largest distance in time at which tcpWER matches two words, in seconds.
        resampling: settings of intervals and draws.
        sessions: scores of each session.
    """

    version: str
    meta: DecodeMeta
    all: MeetingSummary
    conditions: dict[str, MeetingSummary]
    collar: float
    resampling: Resampling
    sessions: tuple[SessionRow, ...]


def read_sessions(decode_dir: Path, set_dir: Path, conditions: Mapping[str, str]) -> list[Session]:
    """Read the true and the recognised turns of a decoded set; sessions are sorted by id.

    Args:
        decode_dir: directory that contains turns.seglst.json or, for a single-talker model,
            hyp.jsonl.
        set_dir: directory of the set, `data/mix_<set>`.
        conditions: condition of each session of the set, by session id.

    Raises:
        DataError: a file is missing, is broken or belongs to another set.
    """
    true = read_turns(set_dir / REFERENCE_FILE, "run `python -m asrlib mixtures` first")
    return make_sessions(conditions, true, recognised_turns(decode_dir))


def score_meetings(
    decode_dir: Path, sessions: Sequence[Session], conditions: Sequence[str], config: ScoreConfig
) -> MeetingScores:
    """Score sessions and write the files `OUTPUTS` to the decode directory.

    Args:
        decode_dir: directory that contains meta.json.
        sessions: result of `read_sessions`.
        conditions: names of all conditions of the sessions, in the order of the results.

    Returns:
        The content of meetings.json.

    Raises:
        DataError: meta.json is missing or broken.
    """
    meta = DecodeMeta.from_file(decode_dir / "meta.json", "decode again with --force")
    write_turns(decode_dir / CHANNELS_FILE, hypotheses(sessions, by_channel=True))
    write_turns(decode_dir / SPEAKERS_FILE, hypotheses(sessions, by_channel=False))
    scored = score_sessions(sessions, config.collar)
    by_condition = {c: [s for s in scored if s.session.condition == c] for c in conditions}
    scores = MeetingScores(
        version=__version__,
        meta=meta,
        all=summary(scored, config.resampling),
        conditions={c: summary(s, config.resampling) for c, s in by_condition.items()},
        collar=config.collar,
        resampling=config.resampling,
        sessions=tuple(map(_row, scored)),
    )
    with atomic_write(decode_dir / "wer.txt") as f:
        f.writelines(f"{line}\n" for line in wer_lines(scored))
    scores.to_file(decode_dir / SCORES_FILE)
    return scores


def recognised_turns(decode_dir: Path) -> list[Turn]:
    """Read the recognised turns of a decode directory.

    A single-talker model has no turns; each of its utterances becomes one turn on channel 0.

    Raises:
        DataError: the file is missing or broken.
    """
    if (decode_dir / TURNS_FILE).exists() or not (decode_dir / "hyp.jsonl").exists():
        return read_turns(decode_dir / TURNS_FILE, "decode the mixture set first")
    turns = []
    for u in read_utterances(decode_dir / "hyp.jsonl"):
        if u.hyp:
            start = u.hyp_words[0].start if u.hyp_words else 0.0
            end = u.hyp_words[-1].end if u.hyp_words else u.duration
            turns.append(Turn(u.id, 0, start, end, " ".join(u.hyp), u.hyp_words))
    return turns


def wer_lines(scored: Sequence[SessionScore]) -> list[str]:
    """Format Kaldi's lines for each measure: first over all sessions, then by condition."""
    conditions = ["", *dict.fromkeys(s.session.condition for s in scored if s.session.condition)]
    return [
        ErrorRate.sum(
            s.errors[measure] for s in scored if condition in ("", s.session.condition)
        ).line(f"{measure.upper()} {condition}".strip())
        for measure in MEASURES
        for condition in conditions
    ]


def _row(score: SessionScore) -> SessionRow:
    session = score.session
    return SessionRow(
        session=session.id,
        condition=session.condition,
        turns=len(session.true),
        recognised=len(session.recognised),
        **score.errors,
        start_pointing_ms=score.starts.ms,
        end_pointing_ms=score.ends.ms,
        closing_ms=score.closed.ms,
    )

"""Recognised turns: the output of multi-talker decoding and the input of scoring.

A decode directory of a mixture set holds `turns.seglst.json`, a JSON list with one object per turn
in meeteval's SegLST format (`session_id`, `speaker`, `start_time`, `end_time`, `words`, and
`channel`). Further keys hold the times of words and turn symbols. meeteval ignores them, so that
the `meeteval-wer` command reads the same file that is scored here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asrlib.errors import DataError
from asrlib.files import atomic_write
from asrlib.text.words import TimedWord

TURNS_FILE = "turns.seglst.json"


@dataclass(frozen=True)
class Turn:
    """One recognised or reference turn; times are in seconds from the start of the session.

    Attributes:
        session: id of the mixture.
        channel: output channel, from 0.
        start: stream time of the first token; in a reference turn, the start of its speech.
        end: emission time of `<eot>`, or of the last token if there was no `<eot>`; in a reference
            turn, the end of its speech.
        words: normalised words, separated by spaces.
        word_times: times of the words, empty if unknown.
        speaker: speaker id, or None if unknown.
        sot_time, eot_time: emission times of the turn's symbols, None if there were none. They are
            times of the best path, which beam search may find only later.
        closed_time: stream time at which the recogniser returned the turn.
    """

    session: str
    channel: int
    start: float
    end: float
    words: str
    word_times: tuple[TimedWord, ...] = ()
    speaker: str | None = None
    sot_time: float | None = None
    eot_time: float | None = None
    closed_time: float | None = None

    def to_seglst(self) -> dict[str, Any]:
        """Return a SegLST segment; an unknown speaker is named after the channel."""
        optional = {
            "word_times": [[w, _ms(start), _ms(end)] for w, start, end in self.word_times],
            "speaker_known": None if self.speaker else False,
            "sot_time": None if self.sot_time is None else _ms(self.sot_time),
            "eot_time": None if self.eot_time is None else _ms(self.eot_time),
            "closed_time": None if self.closed_time is None else _ms(self.closed_time),
        }
        return {
            "session_id": self.session,
            "speaker": self.speaker or f"channel{self.channel}",
            "channel": self.channel,
            "start_time": _ms(self.start),
            "end_time": _ms(max(self.start, self.end)),
            "words": self.words,
            **{key: value for key, value in optional.items() if value not in (None, [])},
        }

    @classmethod
    def from_seglst(cls, segment: Mapping[str, Any]) -> Turn:
        """Make a turn from a segment of `to_seglst` or of another program.

        Raises:
            KeyError, TypeError, ValueError: a key is missing or has a wrong type.
        """
        known = segment.get("speaker_known", True)
        return cls(
            session=str(segment["session_id"]),
            channel=int(segment.get("channel") or 0),
            start=float(segment["start_time"]),
            end=float(segment["end_time"]),
            words=" ".join(str(segment["words"]).split()),
            word_times=tuple(
                TimedWord(str(w), float(start), float(end))
                for w, start, end in segment.get("word_times") or ()
            ),
            speaker=str(segment["speaker"]) if known else None,
            sot_time=_time(segment.get("sot_time")),
            eot_time=_time(segment.get("eot_time")),
            closed_time=_time(segment.get("closed_time")),
        )


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _time(value: Any) -> float | None:
    return None if value is None else float(value)


def write_turns(path: Path, turns: Iterable[Turn]) -> None:
    """Write a SegLST file, sorted by session, start and channel, with times rounded to 1 ms."""
    ordered = sorted(turns, key=lambda t: (t.session, t.start, t.channel))
    with atomic_write(path) as f:
        f.write("[\n" + ",\n".join(json.dumps(turn.to_seglst()) for turn in ordered) + "\n]\n")


def read_turns(path: Path, fix: str) -> list[Turn]:
    """Read a SegLST file; an empty list is legal and means that nothing was recognised.

    Args:
        path: SegLST file.
        fix: advice to the user for a file that cannot be used.

    Raises:
        DataError: the file is missing or broken, or a segment lacks a key; the message names it.
    """
    try:
        segments = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: missing", fix) from None
    except ValueError as e:
        raise DataError(f"{path}: not readable as JSON ({e})", fix) from None
    if not isinstance(segments, list):
        raise DataError(f"{path}: holds no list of segments", fix)
    turns = []
    for number, segment in enumerate(segments, 1):
        try:
            turns.append(Turn.from_seglst(segment))
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise DataError(
                f"{path}: segment {number} is not a turn ({type(e).__name__}: {e})", fix
            ) from None
    return turns

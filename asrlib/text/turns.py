"""Recognised turns: what a multi-talker decode leaves and scoring reads.

A decode directory of a mixture set holds `turns.seglst.json`: a JSON list with one object a turn,
in meeteval's SegLST (`session_id`, `speaker`, `start_time`, `end_time`, `words`, and `channel`),
with further keys for the times of words and turn symbols, which meeteval passes over. So the
`meeteval-wer` command reads the very file that is scored here.
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
    """One turn of talk, recognised or true. Times are seconds from the start of the session.

    Attributes:
        session: id of the mixture.
        channel: output channel, from 0.
        start: stream time of the first token; of a true turn, where its speech starts.
        end: emission time of `<eot>`, or of the last token where none came; of a true turn,
            where its speech ends.
        words: separated by spaces, normalised as everywhere.
        word_times: of each word, where known.
        speaker: who, or None where nobody said.
        sot_time, eot_time: stream times at which the turn's symbols came out, None where none did:
            those of the best path, which a beam may find later only.
        closed_time: stream time at which the recogniser handed the turn out.
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
        """A SegLST segment; who is not known is called by the channel."""
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
        """The turn of a segment that `to_seglst` made, or another program.

        Raises:
            KeyError, TypeError, ValueError: a key is missing or of another kind.
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
    """Write a SegLST file, in order of session, start and channel, to the millisecond."""
    ordered = sorted(turns, key=lambda t: (t.session, t.start, t.channel))
    with atomic_write(path) as f:
        f.write("[\n" + ",\n".join(json.dumps(turn.to_seglst()) for turn in ordered) + "\n]\n")


def read_turns(path: Path, fix: str) -> list[Turn]:
    """Read a SegLST file; a list without a turn is legal: nothing was recognised.

    Raises:
        DataError: missing, broken, or a segment without what it needs; names it.
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
                f"{path}: segment {number} is no turn ({type(e).__name__}: {e})", fix
            ) from None
    return turns

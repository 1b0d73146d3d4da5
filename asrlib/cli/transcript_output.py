"""What `python -m asrlib transcribe` prints: text, turns, JSON, and partial results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from asrlib.speakers.turn_names import Voices
    from asrlib.streaming.recognizer import StreamingRecognizer
    from asrlib.streaming.result import Result, Segment
    from asrlib.streaming.stream import Stream
    from asrlib.text.turns import Turn


@dataclass
class Text:
    """Shows the words of one talker, one line for each file.

    Attributes:
        screen: shows partial results; None without --live.
    """

    path: Path
    recognizer: StreamingRecognizer
    screen: Screen | None
    as_json: bool

    def heard(self, stream: Stream) -> None:
        """Show what was recognised so far, with --live."""
        if self.screen is not None:
            self.screen.show(self.recognizer.result(stream).text)

    def finished(self, stream: Stream) -> None:
        """Print the transcript of a stream that is finished and decoded."""
        if self.screen is not None:
            self.screen.clear()
        result = self.recognizer.result(stream)
        _print(_to_json(self.path, result) if self.as_json else result.text)


@dataclass
class Turns(Text):
    """Shows the turns of several talkers.

    With --live, turns are printed when they close, and open turns are shown on a line that is
    rewritten. Otherwise all turns of a file are printed at its end, in order of start.
    """

    kept: list[Turn] = field(default_factory=list)
    voices: Voices | None = None

    def heard(self, stream: Stream) -> None:
        closed = self.recognizer.take_turns(stream)
        if self.screen is None or self.as_json:
            self.kept += closed
        else:
            self._print_lines(closed)
        if self.screen is not None:
            texts = self.recognizer.open_texts(stream)
            self.screen.show(" | ".join(f"{channel}: {text}" for channel, text in texts))

    def finished(self, stream: Stream) -> None:
        turns = [*self.kept, *self.recognizer.turns(stream)]
        turns.sort(key=lambda turn: (turn.start, turn.channel))
        if self.voices is not None:
            turns = self.voices.named(turns, self.path)
        if self.as_json:
            if self.screen is not None:
                self.screen.clear()
            _print({"file": str(self.path), "turns": [_turn_json(turn) for turn in turns]})
        else:
            self._print_lines(turns)

    def _print_lines(self, turns: list[Turn]) -> None:
        if self.screen is not None:
            self.screen.clear()
        for turn in turns:
            who = turn.speaker or f"channel {turn.channel}"
            _print(f"{turn.start:8.2f} {turn.end:8.2f}  {who}  {turn.words}")


def _print(content: str | dict[str, Any]) -> None:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    click.echo(text)


def _turn_json(turn: Turn) -> dict[str, Any]:
    return {
        "channel": turn.channel,
        **({"speaker": turn.speaker} if turn.speaker else {}),
        "start": _seconds(turn.start),
        "end": _seconds(turn.end),
        "text": turn.words,
        "words": _words(turn.word_times),
    }


class Screen:
    """Shows partial results: rewrites one line on a terminal, else prints a line per change."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._shown = ""

    def show(self, text: str) -> None:
        """Show a text in place of the last one."""
        if text == self._shown:
            return
        self._shown = text
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            text = "\r\x1b[K" + text[-(columns - 1) :]
        print(text, end="" if self._terminal else "\n", file=self._out, flush=True)

    def clear(self) -> None:
        """Clear the line for the final text."""
        if self._terminal and self._shown:
            print("\r\x1b[K", end="", file=self._out, flush=True)
            self._shown = ""


def _to_json(path: Path, result: Result) -> dict[str, Any]:
    return {
        "file": str(path),
        "text": result.text,
        "words": _sure_words(result),
        "segments": [_segment_json(segment) for segment in result.segments],
    }


def _segment_json(segment: Segment) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "text": segment.text,
        "words": _sure_words(segment),
        "final_time": _seconds(segment.final_time),
    }
    if segment.alternatives:
        shown["alternatives"] = [
            {"text": a.text, "score": round(a.score, 3)} for a in segment.alternatives
        ]
    return shown


def _sure_words(said: Result | Segment) -> list[dict[str, Any]]:
    """Words with their confidences, 0 to 1."""
    pairs = zip(_words(said.words), said.confidences, strict=True)
    return [{**word, "confidence": round(confidence, 3)} for word, confidence in pairs]


def _words(words: Iterable[tuple[str, float, float]]) -> list[dict[str, Any]]:
    return [{"word": w, "start": _seconds(a), "end": _seconds(b)} for w, a, b in words]


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)

"""A word with its start and end times."""

from __future__ import annotations

from typing import NamedTuple


class TimedWord(NamedTuple):
    """A word and its times, in seconds from the start of the recording or stream.

    Attributes:
        word: text of the word.
        start: start of the word; of a recognised word, the time of its first token.
        end: end of the word; of a recognised word, the stream time at which its last
            token was emitted.
    """

    word: str
    start: float
    end: float

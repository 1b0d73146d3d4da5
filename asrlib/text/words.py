"""A word with its place in time."""

from __future__ import annotations

from typing import NamedTuple


class TimedWord(NamedTuple):
    """A word and where it lies, in seconds from the start of the recording or stream.

    Attributes:
        end: of a recognised word, the stream time at which its last token was emitted.
    """

    word: str
    start: float
    end: float

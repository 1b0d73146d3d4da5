"""Names of the decoding searches; the searches themselves are in `asrlib.streaming`."""

from __future__ import annotations

from typing import Literal, get_args

SearchName = Literal["greedy", "modified_beam", "fast_beam"]
SEARCHES: tuple[str, ...] = get_args(SearchName)
# Searches that can close the turns of several talkers.
TURN_SEARCHES = ("greedy", "modified_beam")

"""What every search offers: a state per stream, advanced over batches of encoder frames.

Shape suffixes: B streams, S output frames, D encoder width.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Hypothesis:
    """The best transcript of a stream's current segment.

    Attributes:
        tokens: token ids, without blanks.
        frames: per token, the index of the output frame that emitted it, counted from the
            stream's start.
        log_probs: per token, its natural-log probability at that frame given its history.
        score: natural-log probability of the hypothesis, blanks included (modified beam search
            sums over the alignments it kept; the others score their single best one).
    """

    tokens: tuple[int, ...] = ()
    frames: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    score: float = 0.0


class Search(Protocol):
    """A search over the transducer's outputs; holds no stream's data itself.

    Law: cutting `h_BSD` along S, or decoding a stream in another batch, changes no result.
    """

    def initial_state(self, frame: int = 0) -> Any:
        """State of a new segment whose first output frame has index `frame`."""

    def advance(self, h_BSD: Tensor, states: Sequence[Any]) -> None:
        """Consume S frames of each of B streams; updates their states in place."""

    def best(self, state: Any) -> Hypothesis:
        """The best hypothesis so far."""

    def last_frame(self, state: Any) -> int | None:
        """Frame of the best hypothesis' last token, None while it has none."""


class TurnSearch(Search, Protocol):
    """A search that can close turns."""

    def settle(self, state: Any, closing: Collection[int] = ()) -> Hypothesis:
        """Hand out the first tokens, those that nothing to come can change, and forget them.

        `best` then gives what follows them. The predictor keeps their memory.

        Args:
            closing: tokens at which a decision is wanted, as soon as one is nearly sure.
        """

"""Interface of the searches: a state per stream, advanced over batches of encoder frames.

Shape suffixes: B streams, S output frames, D encoder width.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from asrlib.text.tokenizer import BLANK_ID


@dataclass(frozen=True)
class Hypothesis:
    """The best transcript of a stream's current segment.

    Attributes:
        tokens: token ids, without blanks.
        frames: index of the output frame that emitted each token, counted from the stream's
            start.
        log_probs: natural-log probability of each token at that frame, given the tokens before.
        score: natural-log probability of the hypothesis, blanks included. Modified beam search
            sums over the alignments that it kept, and adds the scores of language models and
            hotwords; the other searches score one best alignment.
    """

    tokens: tuple[int, ...] = ()
    frames: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    score: float = 0.0


def symbol_log_probs(
    logits_NV: Tensor, blank_penalty: float = 0.0, temperature: float = 1.0
) -> Tensor:
    """Return natural-log probabilities (..., V) of the symbols.

    Args:
        logits_NV: outputs of the joiner (..., V); they are not changed.
        blank_penalty: subtracted from the logit of blank before the division by `temperature`;
            a value above 0 makes deletions rarer.
        temperature: divisor of the logits; above 1 the distribution becomes flatter.
    """
    if blank_penalty:
        logits_NV = logits_NV.clone()
        logits_NV[..., BLANK_ID] -= blank_penalty
    return (logits_NV / temperature).log_softmax(-1)


class Search(Protocol):
    """A search over the transducer's outputs. It keeps no data of a stream itself.

    Law: neither cutting `h_BSD` along S nor decoding a stream in another batch changes a result.
    """

    def initial_state(self, frame: int = 0) -> Any:
        """Return the state of a new segment whose first output frame has index `frame`."""

    def advance(self, h_BSD: Tensor, states: Sequence[Any]) -> None:
        """Consume S frames of each of B streams and update their states in place."""

    def best(self, state: Any) -> Hypothesis:
        """Return the best hypothesis so far."""

    def last_frame(self, state: Any) -> int | None:
        """Return the output frame of the best hypothesis' last token; None if it has no token."""


class TurnSearch(Search, Protocol):
    """A search that can close the turns of several talkers."""

    def settle(self, state: Any, closing: Collection[int] = ()) -> Hypothesis:
        """Return the first tokens, which no later frame can change, and forget them.

        `best` then returns the tokens after them. The predictor states still depend on them.

        Args:
            closing: tokens that end a turn. The search may drop hypotheses without such a token
                as soon as the token is nearly certain.
        """

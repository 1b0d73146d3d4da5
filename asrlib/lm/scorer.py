"""What a beam search adds to the scores of the transducer: n-gram models and favoured phrases.

A scorer's state is a hashable value that depends only on the tokens so far. So two hypotheses with
equal tokens have equal added scores, and merging them stays exact.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from asrlib.lm.kneser_ney import BEGIN, UNKNOWN, NgramTable

_ROWS = 20_000  # rows of scores kept in memory; a row of 500 symbols has 4 KB


class TokenScorer(Protocol):
    """Adds a score to each token of a hypothesis, in nats."""

    def start(self) -> Hashable:
        """Return the state before the first token of a segment."""
        ...

    def row(self, state: Any) -> np.ndarray:
        """Return the score (V,) that each next token would add; float64, 0 for blank."""
        ...

    def advance(self, state: Any, token: int) -> Hashable:
        """Return the state after a token."""
        ...

    def end(self, state: Any) -> float:
        """Return what is added when the segment ends in this state."""
        ...


class NgramScorer:
    """Shallow fusion with an n-gram model over the tokenizer's pieces.

    Each token adds `scale` times its natural-log probability after the last `order` - 1 tokens of
    the segment. A negative scale subtracts the model, as for the low-order model of LODR (arXiv
    2203.16776), which stands for the transducer's internal language model. The end of a segment
    adds nothing, because in a stream it says little about the end of a sentence.

    A symbol that the model lacks has the probability of its `<unk>`, or the lowest of all single
    symbols if there is none. Where the model is subtracted, such a symbol, `<unk>` among them,
    scores as the least of all others: that the training text lacks it is no reason to prefer it
    (our choice).

    Args:
        table: the model.
        pieces: the piece of each token id.
        scale: weight of the model.
        ignored: ids that add nothing and leave the history as it is, blank among them.
    """

    def __init__(
        self, table: NgramTable, pieces: Sequence[str], scale: float, ignored: Sequence[int]
    ) -> None:
        self.table, self.pieces, self.scale = table, list(pieces), scale
        self.ignored = frozenset(ignored)
        single = {gram: value for gram, value in table.log_probs[0].items() if gram != (BEGIN,)}
        self._unknown = single.get((UNKNOWN,), min(single.values(), default=0.0))
        self._row = lru_cache(maxsize=_ROWS)(self._compute)

    def start(self) -> tuple[str, ...]:
        return (BEGIN,)[: self.table.order - 1]

    def row(self, state: tuple[str, ...]) -> np.ndarray:
        return self._row(state)

    def _compute(self, history: tuple[str, ...]) -> np.ndarray:
        scores_V = np.zeros(len(self.pieces))
        lacking, known = [], []
        for token, piece in enumerate(self.pieces):
            if token not in self.ignored:
                scores_V[token] = self.scale * self.table.log_prob(history, piece)
                is_known = np.isfinite(scores_V[token]) and (self.scale > 0 or piece != UNKNOWN)
                (known if is_known else lacking).append(token)
        least = self.scale * self._unknown
        if self.scale < 0:
            least = min((scores_V[token] for token in known), default=0.0)
        scores_V[lacking] = least
        scores_V.flags.writeable = False
        return scores_V

    def advance(self, state: tuple[str, ...], token: int) -> tuple[str, ...]:
        if token in self.ignored:
            return state
        longer = (*state, self.pieces[token])
        return longer[max(0, len(longer) - self.table.order + 1) :]

    def end(self, state: tuple[str, ...]) -> float:
        return 0.0


class SumScorer:
    """The sum of several scorers."""

    def __init__(self, scorers: Sequence[TokenScorer]) -> None:
        self.scorers = tuple(scorers)

    def start(self) -> tuple[Hashable, ...]:
        return tuple(scorer.start() for scorer in self.scorers)

    def row(self, state: tuple[Any, ...]) -> np.ndarray:
        rows = [scorer.row(part) for scorer, part in zip(self.scorers, state, strict=True)]
        return np.sum(rows, axis=0)

    def advance(self, state: tuple[Any, ...], token: int) -> tuple[Hashable, ...]:
        return tuple(
            scorer.advance(part, token) for scorer, part in zip(self.scorers, state, strict=True)
        )

    def end(self, state: tuple[Any, ...]) -> float:
        return sum(scorer.end(part) for scorer, part in zip(self.scorers, state, strict=True))

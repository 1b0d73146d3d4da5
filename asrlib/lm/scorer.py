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
        self._heard_V = np.array([token not in self.ignored for token in range(len(self.pieces))])
        self._is_unknown_V = np.array([piece == UNKNOWN for piece in self.pieces])
        self._followers = self._by_history()
        self._row = lru_cache(maxsize=_ROWS)(self._compute)
        self._log_probs = lru_cache(maxsize=_ROWS)(self._compute_log_probs)

    def _by_history(self) -> dict[tuple[str, ...], tuple[list[int], list[float]]]:
        """Return the tokens that the model has seen after each history, with log-probabilities."""
        id_of = {piece: token for token, piece in enumerate(self.pieces) if self._heard_V[token]}
        found: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}
        for grams in self.table.log_probs:
            for gram, log_prob in grams.items():
                if gram[-1] in id_of:
                    tokens, values = found.setdefault(gram[:-1], ([], []))
                    tokens.append(id_of[gram[-1]])
                    values.append(log_prob)
        return found

    def start(self) -> tuple[str, ...]:
        return (BEGIN,)[: self.table.order - 1]

    def row(self, state: tuple[str, ...]) -> np.ndarray:
        return self._row(state)

    def _compute(self, history: tuple[str, ...]) -> np.ndarray:
        log_probs_V = self._log_probs(history)
        known_V = self._heard_V & np.isfinite(log_probs_V)
        if self.scale < 0:
            known_V &= ~self._is_unknown_V
        scores_V = np.zeros(len(self.pieces))
        scores_V[known_V] = self.scale * log_probs_V[known_V]
        least = self.scale * self._unknown
        if self.scale < 0:
            least = scores_V[known_V].min() if known_V.any() else 0.0
        scores_V[self._heard_V & ~known_V] = least
        scores_V.flags.writeable = False
        return scores_V

    def _compute_log_probs(self, history: tuple[str, ...]) -> np.ndarray:
        """Return the log-probability (V,) of each token, as `NgramTable.log_prob` gives it."""
        if history:
            log_probs_V = self._log_probs(history[1:]) + self.table.back_offs.get(history, 0.0)
        else:
            log_probs_V = np.full(len(self.pieces), -np.inf)
        tokens, values = self._followers.get(history, ([], []))
        log_probs_V[tokens] = values
        return log_probs_V

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

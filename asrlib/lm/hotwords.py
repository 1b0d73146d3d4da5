"""Favoured phrases (hotwords): a search adds a score for each piece that continues a phrase.

The phrases form a trie with failure links, the automaton of Aho and Corasick ("Efficient string
matching", CACM 18, 1975), as in icefall's `ContextGraph`. Each piece of a phrase adds a share of
the phrase's boost. If the phrase is not completed, what its pieces added is taken back. So the sum
over a hypothesis is the boost of all phrases that it contains, whatever the search did in between.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asrlib.errors import DataError
from asrlib.text.normalise import normalise
from asrlib.text.tokenizer import SPECIALS, UNKNOWN, Tokenizer

_UNKNOWN_ID = SPECIALS.index(UNKNOWN)


@dataclass
class _Node:
    """A prefix of phrases.

    Attributes:
        pending: score of the phrase that is under way; it is taken back if the phrase breaks off.
        banked: boosts of the phrases that end exactly here, those of shorter suffixes included.
        fail: number of the node of the longest proper suffix that is a prefix too.
        children: number of the node after each token.
    """

    pending: float = 0.0
    banked: float = 0.0
    fail: int = 0
    children: dict[int, int] = field(default_factory=dict)


class HotwordScorer:
    """Adds the boosts of phrases; a `TokenScorer`.

    Args:
        phrases: token ids of each phrase, and its boost in nats for each token. If phrases share
            a prefix, its tokens add the highest of their boosts.
        vocab_size: number of tokens.
        ignored: ids that add nothing and leave the state as it is, blank among them.
    """

    def __init__(
        self,
        phrases: Mapping[tuple[int, ...], float],
        vocab_size: int,
        ignored: Sequence[int],
    ) -> None:
        self.vocab_size, self.ignored = vocab_size, frozenset(ignored)
        self.nodes = [_Node()]
        for tokens, boost in phrases.items():
            self._add(tokens, boost)
        self._link()
        self._rows: dict[int, np.ndarray] = {}

    def _add(self, tokens: tuple[int, ...], boost: float) -> None:
        at = 0
        for depth, token in enumerate(tokens, start=1):
            if token not in self.nodes[at].children:
                self.nodes[at].children[token] = len(self.nodes)
                self.nodes.append(_Node())
            at = self.nodes[at].children[token]
            self.nodes[at].pending = max(self.nodes[at].pending, depth * boost)
        self.nodes[at].banked = max(self.nodes[at].banked, len(tokens) * boost)

    def _link(self) -> None:
        """Set the failure links breadth first, and add the boosts of phrases that are suffixes."""
        queue = deque(self.nodes[0].children.values())
        while queue:
            node = self.nodes[queue.popleft()]
            node.banked += self.nodes[node.fail].banked  # a shorter suffix is complete by now
            for token, child in node.children.items():
                self.nodes[child].fail = self._next(node.fail, token)
                queue.append(child)

    def start(self) -> int:
        return 0

    def _next(self, at: int, token: int) -> int:
        while at and token not in self.nodes[at].children:
            at = self.nodes[at].fail
        return self.nodes[at].children.get(token, 0)

    def _open(self, at: int) -> float:
        """Return the score of the phrase under way: nothing at the end of a whole phrase."""
        node = self.nodes[at]
        return node.pending if node.children else 0.0

    def _gain(self, at: int, token: int) -> float:
        to = self._next(at, token)
        return self._open(to) - self._open(at) + self.nodes[to].banked

    def row(self, state: int) -> np.ndarray:
        if state not in self._rows:
            scores_V = np.full(self.vocab_size, -self._open(state))  # back to the root
            back, seen = state, set[int]()
            while True:
                for token in set(self.nodes[back].children) - seen:
                    scores_V[token] = self._gain(state, token)
                    seen.add(token)
                if not back:
                    break
                back = self.nodes[back].fail
            scores_V[list(self.ignored)] = 0.0
            scores_V.flags.writeable = False
            self._rows[state] = scores_V
        return self._rows[state]

    def advance(self, state: int, token: int) -> int:
        return state if token in self.ignored else self._next(state, token)

    def end(self, state: int) -> float:
        return -self._open(state)


def read_phrases(
    lines: Iterable[str], source: str, tokenizer: Tokenizer, boost: float
) -> dict[tuple[int, ...], float]:
    """Read phrases, one a line, each optionally followed by a tab and a boost of its own.

    Empty lines and lines that begin with `#` are skipped.

    Args:
        lines: the phrases.
        source: where they come from, for error messages.
        tokenizer: gives the pieces of a phrase.
        boost: nats for each token of a phrase without a boost of its own.

    Raises:
        DataError: a phrase has no pieces or unknown characters, a boost is no number above zero, or
            there is no phrase at all; the message names the line.
    """
    fix = "write one phrase a line, if needed followed by a tab and a boost above 0"
    other = "leave the phrase out, or write it with the characters of the training transcripts"
    phrases: dict[tuple[int, ...], float] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        text, _, own = line.strip().partition("\t")
        try:
            value = float(own) if own else boost
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise DataError(
                f"{source}, line {number}: the boost {own or boost} is not above 0", fix
            )
        tokens = tuple(tokenizer.encode(normalise(text)))
        if not tokens or _UNKNOWN_ID in tokens:
            strange = [c for c in text if _UNKNOWN_ID in tokenizer.encode(normalise(c))]
            named = f"'{strange[0]}' of '{text}'" if strange else f"'{text}'"
            raise DataError(
                f"{source}, line {number}: {named} has no piece in the model's tokenizer", other
            )
        phrases[tokens] = value
    if not phrases:
        raise DataError(f"{source}: has no phrase", fix)
    return phrases


def read_hotwords(path: Path, tokenizer: Tokenizer, boost: float) -> dict[tuple[int, ...], float]:
    """Read a file of phrases; see `read_phrases`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: the hotwords cannot be read: {e}", "give a text in UTF-8") from e
    return read_phrases(lines, str(path), tokenizer, boost)

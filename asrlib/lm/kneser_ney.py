"""Train an n-gram model with interpolated modified Kneser-Ney smoothing.

Source: Chen and Goodman, "An empirical study of smoothing techniques for language modeling",
Computer Speech and Language 13 (1999), equations 26 and 27 for the discounts. The lowest order is
interpolated with the uniform distribution over the vocabulary, so that every symbol has a
probability. Where the counts of a small text give no valid discounts, 0.5, 1 and 1.5 are used
instead, as in the KenLM toolkit.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asrlib.errors import ConfigError, DataError
from asrlib.files import atomic_write

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
MAX_ORDER = 4
_FALLBACK = (0.5, 1.0, 1.5)

Ngram = tuple[str, ...]


@dataclass(frozen=True)
class NgramTable:
    """A back-off n-gram model, as an ARPA file holds it.

    Attributes:
        log_probs: for each order from 1, the natural-log probability of each n-gram's last symbol
            after the others.
        back_offs: natural-log back-off weight of each history; a missing one has weight 0 (factor
            1).
    """

    log_probs: tuple[Mapping[Ngram, float], ...]
    back_offs: Mapping[Ngram, float]

    @property
    def order(self) -> int:
        """Largest number of symbols in an n-gram."""
        return len(self.log_probs)

    def log_prob(self, history: Sequence[str], symbol: str) -> float:
        """Return the natural-log probability of a symbol after a history, backing off if needed.

        Args:
            history: the symbols before; only the last `order` - 1 count.
        """
        context = tuple(history)[max(0, len(history) - self.order + 1) :]
        weight = 0.0
        while True:
            found = self.log_probs[len(context)].get((*context, symbol))
            if found is not None:
                return weight + found
            if not context:
                return -math.inf
            weight += self.back_offs.get(context, 0.0)
            context = context[1:]


def train_ngrams(
    sentences: Iterable[Sequence[str]], order: int, vocabulary: Iterable[str]
) -> NgramTable:
    """Train a model whose probabilities after any history sum to 1.

    Args:
        sentences: symbols of each sentence, without `<s>` and `</s>`.
        order: 1 to 4.
        vocabulary: all symbols that get a probability, besides `</s>`; it must contain those of
            the sentences.

    Raises:
        ConfigError: the order is not between 1 and 4.
        DataError: there is no sentence, or a symbol is not in the vocabulary.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ConfigError(
            f"order {order}: n-gram models have an order of 1 to {MAX_ORDER} here",
            f"choose 1 to {MAX_ORDER}",
        )
    known = {*vocabulary, END}
    counts = _counts(sentences, order, known)
    log_probs: list[dict[Ngram, float]] = []
    back_offs: dict[Ngram, float] = {}
    lower: dict[Ngram, float] = {(): 1 / len(known)}
    for n in range(1, order + 1):
        probs, gammas = _smoothed(counts[n - 1], lower, n)
        if n == 1:  # symbols that never occur have the uniform share alone
            rest = gammas[()] / len(known)
            probs |= {(symbol,): rest for symbol in known if (symbol,) not in probs}
        else:
            back_offs |= {history: math.log(gamma) for history, gamma in gammas.items()}
        log_probs.append({gram: math.log(p) for gram, p in sorted(probs.items())})
        lower = probs
    return NgramTable(tuple(log_probs), back_offs)


def _counts(
    sentences: Iterable[Sequence[str]], order: int, known: set[str]
) -> list[Counter[Ngram]]:
    """Count n-grams; below the highest order, count the different symbols before them instead.

    N-grams that begin with `<s>` have no symbol before them and keep their plain counts.
    """
    plain: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    empty = True
    for number, sentence in enumerate(sentences, start=1):
        empty = False
        strange = [symbol for symbol in sentence if symbol not in known]
        if strange:
            raise DataError(
                f"sentence {number}: {strange[0]} is not in the vocabulary",
                "use the tokenizer that the text was encoded with",
            )
        symbols = (BEGIN, *sentence, END)
        for n in range(1, order + 1):
            for i in range(len(symbols) - n + 1):
                gram = symbols[i : i + n]
                if gram != (BEGIN,):
                    plain[n - 1][gram] += 1
    if empty:
        raise DataError("the text has no sentence", "give a text with at least one line")
    adjusted = [plain[-1]]
    for n in range(order - 1, 0, -1):
        kept = Counter({gram: c for gram, c in plain[n - 1].items() if gram[0] == BEGIN})
        kept.update(gram[1:] for gram in plain[n])
        adjusted.insert(0, kept)
    return adjusted


def _discounts(counts: Mapping[Ngram, int]) -> tuple[float, float, float]:
    """Return the discounts of n-grams that occur once, twice, and more often (equation 26)."""
    n1, n2, n3, n4 = (sum(1 for c in counts.values() if c == k) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return _FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    valid = all(0 < d <= k for k, d in enumerate(found, start=1))
    return found if valid else _FALLBACK


def _smoothed(
    counts: Mapping[Ngram, int], lower: Mapping[Ngram, float], n: int
) -> tuple[dict[Ngram, float], dict[Ngram, float]]:
    """Return the interpolated probabilities of an order, and the lower order's share by history."""
    discounts = _discounts(counts)
    totals: dict[Ngram, int] = defaultdict(int)
    taken: dict[Ngram, float] = defaultdict(float)
    for gram, count in counts.items():
        totals[gram[:-1]] += count
        taken[gram[:-1]] += discounts[min(count, 3) - 1]
    gammas = {history: taken[history] / totals[history] for history in totals}
    probs = {}
    for gram, count in counts.items():
        history = gram[:-1]
        base = lower[gram[1:]] if n > 1 else lower[()]
        own = (count - discounts[min(count, 3) - 1]) / totals[history]
        probs[gram] = own + gammas[history] * base
    return probs, gammas


def write_arpa(table: NgramTable, path: Path) -> None:
    """Write a model as an ARPA file, whose logarithms have base 10."""
    orders = [dict(probs) for probs in table.log_probs]
    if table.order > 1:  # the start of a sentence is a history, never a symbol that is predicted
        orders[0] = {(BEGIN,): -99 * math.log(10), **orders[0]}
    with atomic_write(path) as f:
        f.write("\\data\\\n")
        f.writelines(f"ngram {n}={len(probs)}\n" for n, probs in enumerate(orders, start=1))
        for n, probs in enumerate(orders, start=1):
            f.write(f"\n\\{n}-grams:\n")
            for gram, log_prob in probs.items():
                back_off = table.back_offs.get(gram)
                tail = "" if back_off is None else f"\t{back_off / math.log(10):.9g}"
                f.write(f"{log_prob / math.log(10):.9g}\t{' '.join(gram)}{tail}\n")
        f.write("\n\\end\\\n")

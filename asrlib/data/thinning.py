"""Leave out training speakers of a group, for experiments on imbalance."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

from asrlib.config import configclass
from asrlib.errors import DataError
from asrlib.numbers import Share
from asrlib.seeds import derive_seed

logger = logging.getLogger(__name__)


@configclass
class Thinning:
    """Rule that leaves out training speakers of a group, for experiments on imbalance.

    Attributes:
        column: column of data/speakers.tsv that the group is defined by, such as `age`.
        value: the group's value in the column; empty if the group is a range of numbers.
        low, high: the group's range, `high` excluded; none: without a bound. Speakers without a
            number are no members.
        share: share of the group's speakers that is kept. A hash of their ids and `seed` chooses
            them, and at least two are kept.
        seed: another seed keeps other speakers; none: the seed of the training.
    """

    column: str
    value: str = ""
    low: float | None = None
    high: float | None = None
    share: Share = 1.0
    seed: int | None = None

    def holds(self, facts: Mapping[str, str]) -> bool:
        """Whether a speaker with these facts is a member of the group."""
        found = facts.get(self.column, "")
        if self.value:
            return found == self.value
        try:
            number = float(found)
        except ValueError:
            return False
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return low <= number < high

    def __str__(self) -> str:
        if self.value:
            return f"{self.column} {self.value}"
        bounds = (("from", self.low), ("below", self.high))
        told = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
        return " ".join([self.column, *told])


def thinned(
    rules: Sequence[Thinning], speakers: Mapping[str, Mapping[str, str]], seed: int
) -> frozenset[str]:
    """Return the speakers that the rules leave out of training.

    Args:
        rules: applied one after the other, each to all speakers of its group.
        speakers: facts of each training speaker.
        seed: that of rules without one.

    Raises:
        DataError: a rule's group has no speaker.
    """
    dropped: set[str] = set()
    for rule in rules:
        members = [name for name, facts in speakers.items() if rule.holds(facts)]
        if not members:
            raise DataError(
                f"speaker.thin: no training speaker has {rule}",
                "see the columns of data/speakers.tsv",
            )
        chosen = seed if rule.seed is None else rule.seed
        ranked = sorted(members, key=lambda name: derive_seed("thin", chosen, name))
        kept = min(len(members), max(2, round(rule.share * len(members))))
        dropped.update(ranked[kept:])
        logger.info("speaker.thin: %d of %d speakers of %s are kept", kept, len(members), rule)
    return frozenset(dropped)

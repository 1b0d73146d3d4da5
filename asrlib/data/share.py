"""The share of a batch that one of several training processes (ranks) takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from asrlib.seeds import derive_seed

T = TypeVar("T")


@dataclass(frozen=True)
class RankShare:
    """One of `size` shares of every batch; its `rank` counts from 0.

    The shares of a batch depend on the batch alone, so that a training may be resumed with another
    number of ranks and sees the same batches.
    """

    rank: int = 0
    size: int = 1

    def of(self, items: Sequence[T], length: Callable[[T], float] | None = None) -> Sequence[T]:
        """Return this share of the items of a batch.

        Items are dealt like cards, so that all shares have about equally many of the same lengths.
        If there are fewer items than ranks, a rank without one takes the first item too, as company
        for the others: its loss counts for nothing (see `asrlib.training.stepper`).

        Args:
            items: at least one item.
            length: function by whose value the items are sorted, longest first, before they are
                dealt; None keeps their order.
        """
        if self.size == 1:
            return items
        if length is not None:
            items = sorted(items, key=length, reverse=True)
        return items[self.rank :: self.size] or items[:1]

    def seed(self, seed: int) -> int:
        """Return the seed of the draws for this share; rank 0 has that of the whole batch."""
        return derive_seed("rank", seed, self.rank) if self.rank else seed


WHOLE = RankShare()

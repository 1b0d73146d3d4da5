"""The utterances of a training epoch: those of a set, and repetitions of others.

lhotse's `mux` changes the order of utterances but not their number, and its weighted sampler draws
without replacement, so both are unsuitable to repeat a cohort.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lhotse import CutSet
from lhotse.cut import Cut

from asrlib.seeds import derive_seed


def seconds_of(cuts: CutSet) -> float:
    """Return the total duration of cuts, in seconds."""
    return sum(cut.duration for cut in cuts)


def ranked(cuts: CutSet, *key: int | str) -> list[Cut]:
    """Return cuts in a random order that depends only on their ids and on the numbers of `key`."""
    return sorted(cuts, key=lambda cut: (derive_seed(*key, cut.id), cut.id))


def repeated(cuts: CutSet, times: float, seed: int, epoch: int) -> Iterator[Cut]:
    """Yield each cut `times` times, each copy with an id of its own.

    A fraction of `times` is a share of the audio. It consists of cuts that are chosen by a hash of
    (seed, epoch, id), so that every epoch has others; their duration exceeds the share by less than
    one cut.
    """
    whole = math.floor(times)
    if whole:
        yield from cuts.repeat(whole)
    left = (times - whole) * seconds_of(cuts)
    for cut in ranked(cuts, seed, epoch) if left > 0 else ():
        if left <= 0:
            return
        left -= cut.duration
        yield cut.with_id(f"{cut.id}_repeat{whole}")


@dataclass(frozen=True)
class Draw:
    """Cuts that join an epoch, and how often; `times` 0.5 stands for half of their audio."""

    cuts: CutSet
    times: float


@dataclass(frozen=True)
class EpochMix:
    """The utterances of each epoch.

    Attributes:
        base: cuts that every epoch holds once.
        draws: further cuts.
        seed: seed of the fractions.
    """

    base: CutSet
    draws: tuple[Draw, ...] = ()
    seed: int = 1

    def of_epoch(self, epoch: int) -> CutSet:
        """Return the cuts of an epoch, counted from 0, all with different ids."""
        drawn = [
            cut for draw in self.draws for cut in repeated(draw.cuts, draw.times, self.seed, epoch)
        ]
        return CutSet.from_cuts([*self.base, *drawn]) if drawn else self.base

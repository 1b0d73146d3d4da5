"""Which utterances make a batch: lhotse's dynamic buckets under a bound on padded size."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler
from lhotse.dataset.sampling.base import SamplingConstraint
from lhotse.dataset.sampling.dynamic_bucketing import estimate_duration_buckets
from torch.utils.data import Sampler

from asrlib.config import configclass
from asrlib.errors import ConfigError


@configclass
class DataConfig:
    """How training batches are made.

    Attributes:
        max_frames: bound on utterances x longest utterance, in frames of features.
        max_tokens: bound on utterances x longest transcript, in tokens.
        num_buckets: groups of similar length; more of them, less padding and less mixing.
        buffer_size: utterances held while a large, lazily read corpus is shuffled; a corpus
            in memory is always shuffled wholly.
        sorted_epochs: first epochs whose batches come shortest first (SortaGrad, arXiv
            1512.02595): short utterances teach the alignment.
    """

    max_frames: int = 4000
    max_tokens: int = 2000
    num_buckets: int = 20
    buffer_size: int = 50000
    sorted_epochs: int = 0

    def __post_init__(self) -> None:
        for key in ("max_frames", "max_tokens", "num_buckets", "buffer_size"):
            if getattr(self, key) < 1:
                raise ConfigError(f"data.{key}: must be positive", "give a positive number")
        if self.sorted_epochs < 0:
            raise ConfigError("data.sorted_epochs: is negative", "write 0 for none")


@dataclass
class PaddedConstraint(SamplingConstraint):
    """Bound the padded size of a batch, in frames and in tokens.

    A batch comes from one bucket, so the longest utterance and transcript of the bucket are
    taken as what the next one may have: the bound is never exceeded, except by one utterance
    that is too long alone.

    Attributes:
        sizes: frames and tokens by cut id; asked for often, and lhotse computes frames anew.
        bins: frames, upper edges of all buckets but the last.
        longest: for each bucket, the longest utterance in frames and transcript in tokens.
    """

    config: DataConfig
    sizes: Mapping[str, tuple[int, int]]
    bins: list[float]
    longest: list[tuple[int, int]]
    count: int = 0
    max_frames: int = 0
    max_tokens: int = 0
    bucket: int = 0

    @classmethod
    def fit(cls, cuts: CutSet, tokens: Mapping[str, int], config: DataConfig) -> PaddedConstraint:
        """Choose buckets that hold about as many frames each, and find their longest cuts."""
        sizes = {cut.id: (cut.num_frames, tokens[cut.id]) for cut in cuts}
        constraint = cls(config, sizes, bins=[], longest=[(0, 0)])
        num_buckets = min(config.num_buckets, len(sizes))
        if num_buckets > 1:
            bins = estimate_duration_buckets(cuts, num_buckets, constraint)
            constraint.bins = sorted({float(b) for b in bins})
            constraint.longest = [(0, 0)] * (len(constraint.bins) + 1)
        for frames, count in sizes.values():
            bucket = constraint.select_bucket(constraint.bins, example_len=frames)
            longest = constraint.longest[bucket]
            constraint.longest[bucket] = (max(longest[0], frames), max(longest[1], count))
        return constraint

    def add(self, example: Cut) -> None:
        frames, tokens = self.sizes[example.id]
        self.bucket = self.select_bucket(self.bins, example_len=frames)
        self.count += 1
        self.max_frames = max(self.max_frames, frames)
        self.max_tokens = max(self.max_tokens, tokens)

    def exceeded(self) -> bool:
        return self._exceeds(self.count, self.max_frames, self.max_tokens)

    def close_to_exceeding(self) -> bool:
        return self._exceeds(self.count + 1, *self.longest[self.bucket])

    def _exceeds(self, count: float, frames: int, tokens: int) -> bool:
        return count * frames > self.config.max_frames or count * tokens > self.config.max_tokens

    def fits(self, cuts: Sequence[Cut], fullness: float = 1.0) -> bool:
        """Whether a batch of these keeps within a share of the bound."""
        frames = max(self.sizes[c.id][0] for c in cuts)
        tokens = max(self.sizes[c.id][1] for c in cuts)
        return not self._exceeds(len(cuts) / fullness, frames, tokens)

    def reset(self) -> None:
        self.count = self.max_frames = self.max_tokens = self.bucket = 0

    def measure_length(self, example: Cut) -> float:
        return self.sizes[example.id][0]


class _BareSampler(Sampler):
    """torch 1.13's Sampler demands an argument that lhotse no longer passes, and does nothing."""

    def __init__(self) -> None:
        pass


class _BucketingSampler(DynamicBucketingSampler, _BareSampler):
    """lhotse's sampler, on torch 1.13 as on 2.x: `_BareSampler` comes before torch's."""


def sample_batches(
    cuts: CutSet, tokens: Mapping[str, int], config: DataConfig, seed: int
) -> Iterator[CutSet]:
    """Yield an epoch's batches; every cut is in exactly one. Reads no features.

    Each bucket leaves a remnant, often of one or two utterances, and lhotse's sampler gives the
    remnants one after the other at the end of the epoch: twenty noisy steps in a row. Of a corpus
    in memory they are joined, and all batches shuffled.

    Args:
        tokens: number of tokens by cut id.
        seed: the order depends on it and on the cuts alone.
    """
    constraint = PaddedConstraint.fit(cuts, tokens, config)
    if cuts.is_lazy:
        yield from _buckets(cuts, constraint, seed)
        return
    rng = random.Random(seed)
    batches = _with_joined_remnants(_buckets(cuts.shuffle(rng), constraint, seed), constraint)
    rng.shuffle(batches)
    yield from batches


def _with_joined_remnants(batches: Iterable[CutSet], constraint: PaddedConstraint) -> list[CutSet]:
    """Batches less than half full joined, in order of length, as far as the bound permits."""
    whole, remnants = [], []
    for batch in batches:
        (remnants if constraint.fits(list(batch), fullness=0.5) else whole).append(list(batch))
    joined: list[list[Cut]] = []
    for cuts in sorted(remnants, key=lambda cuts: max(constraint.sizes[c.id][0] for c in cuts)):
        if joined and constraint.fits(joined[-1] + cuts):
            joined[-1] += cuts
        else:
            joined.append(cuts)
    return [CutSet.from_cuts(cuts) for cuts in whole + joined]


def _buckets(cuts: CutSet, constraint: PaddedConstraint, seed: int) -> Iterator[CutSet]:
    """lhotse's dynamic buckets."""
    with warnings.catch_warnings():
        # It advises reading manifests lazily, which would end whole-corpus shuffling.
        warnings.filterwarnings("ignore", message="You are using DynamicBucketingSampler")
        sampler = _BucketingSampler(
            cuts,
            constraint=constraint,
            duration_bins=constraint.bins,
            buffer_size=constraint.config.buffer_size,
            shuffle=True,
            seed=seed,
            rank=0,
            world_size=1,
        )
    yield from sampler

"""Composition of batches: lhotse's dynamic buckets with a bound on the padded size."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """Settings of training batches.

    Attributes:
        max_frames: bound on number of utterances x longest utterance, in feature frames.
        max_tokens: bound on number of utterances x longest transcript, in tokens.
        num_buckets: number of groups of similar length. More groups give less padding, but batches
            whose utterances are less mixed.
        buffer_size: number of utterances held for shuffling a large corpus that is read lazily; a
            corpus in memory is always shuffled as a whole.
        sorted_epochs: number of first epochs whose batches come shortest first (SortaGrad, arXiv
            1512.02595); short utterances teach the alignment.
        lang: directory of the tokens in the recipe's data directory. A recipe may have several.
    """

    max_frames: int = 4000
    max_tokens: int = 2000
    num_buckets: int = 20
    buffer_size: int = 50000
    sorted_epochs: int = 0
    lang: str = "lang"

    def __post_init__(self) -> None:
        for key in ("max_frames", "max_tokens", "num_buckets", "buffer_size"):
            if getattr(self, key) < 1:
                raise ConfigError(
                    f"data.{key}: the value is not positive", "give a positive number"
                )
        if self.sorted_epochs < 0:
            raise ConfigError("data.sorted_epochs: the value is negative", "give 0 or more")
        if Path(self.lang).name != self.lang:
            raise ConfigError(
                f"data.lang: {self.lang!r} is not the name of a directory", "give it without a path"
            )

    def tokens(self, data: Path) -> Path:
        """Return the token model in a recipe's data directory."""
        return data / self.lang / "bpe.model"


@dataclass
class PaddedConstraint(SamplingConstraint):
    """Bound on the padded size of a batch, in frames and in tokens.

    A batch comes from one bucket, and its next utterance is assumed to be as long as the longest
    utterance and transcript of that bucket. So the bound is never exceeded, except by a single
    utterance that exceeds it alone.

    Attributes:
        config: holds the bounds.
        sizes: numbers of frames and tokens by cut id, kept because lhotse would compute the number
            of frames at each request.
        bins: upper edges of all buckets but the last, in frames.
        longest: longest utterance (frames) and longest transcript (tokens) of each bucket.
        count, max_frames, max_tokens, bucket: number of utterances in the current batch, their
            longest utterance (frames) and transcript (tokens), and their bucket.
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
        """Choose buckets with about equal numbers of frames, and find the longest cuts of each."""
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
        """Whether a batch of these cuts stays within the share `fullness` of the bound."""
        frames = max(self.sizes[c.id][0] for c in cuts)
        tokens = max(self.sizes[c.id][1] for c in cuts)
        return not self._exceeds(len(cuts) / fullness, frames, tokens)

    def reset(self) -> None:
        self.count = self.max_frames = self.max_tokens = self.bucket = 0

    def measure_length(self, example: Cut) -> float:
        return self.sizes[example.id][0]


class _BareSampler(Sampler):
    """torch 1.13's Sampler requires an argument, which it ignores and lhotse no longer passes."""

    def __init__(self) -> None:
        pass


class _BucketingSampler(DynamicBucketingSampler, _BareSampler):
    """lhotse's sampler for torch 1.13 and 2.x: `_BareSampler` precedes torch's Sampler."""


def sample_batches(
    cuts: CutSet, tokens: Mapping[str, int], config: DataConfig, seed: int
) -> Iterator[CutSet]:
    """Yield an epoch's batches, with every cut in exactly one; no features are read.

    Each bucket leaves a remainder, often of one or two utterances. lhotse's sampler yields all
    remainders at the end of the epoch, which gives twenty noisy training steps in a row. For a
    corpus in memory, the remainders are therefore joined and all batches shuffled.

    Args:
        tokens: number of tokens by cut id.
        config: settings of batches.
        seed: seed of the order, which depends on nothing else but the cuts.
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
    """Join the batches that are less than half full, in order of length, within the bound."""
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
    """Yield the batches of lhotse's dynamic bucketing sampler."""
    with warnings.catch_warnings():
        # lhotse advises reading manifests lazily, but then no corpus is shuffled as a whole.
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

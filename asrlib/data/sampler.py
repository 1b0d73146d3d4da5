"""Composition of batches: lhotse's dynamic buckets with a bound on the padded size."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from lhotse.cut import Cut
from lhotse.dataset.sampling.base import SamplingConstraint
from lhotse.dataset.sampling.dynamic_bucketing import DynamicBucketer, estimate_duration_buckets

from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.numbers import Probability

_BUCKET_SEED = 1234  # with which lhotse's sampler chooses among buckets


@configclass
class DataConfig:
    """Settings of training batches.

    Attributes:
        max_frames: bound on number of utterances x longest utterance, in feature frames.
        max_tokens: bound on number of utterances x longest transcript, in tokens.
        num_buckets: number of groups of similar length. More groups give less padding, but batches
            whose utterances are less mixed.
        buffer_size: number of utterances of a shuffled corpus that are in the groups at a time.
        sorted_epochs: number of first epochs whose batches come shortest first (SortaGrad, arXiv
            1512.02595); short utterances teach the alignment.
        lang: directory of the tokens in the recipe's data directory. A recipe may have several.
        features: whether stage 2 stores the features, or leaves it to the loading of batches to
            compute them on the fly.
        unknown_source: probability that an utterance's source is not told in an epoch, so that the
            model also works without; for tokens with `tokens.sources`.
    """

    max_frames: int = 4000
    max_tokens: int = 2000
    num_buckets: int = 20
    buffer_size: int = 50000
    sorted_epochs: int = 0
    lang: str = "lang"
    features: Literal["stored", "on_the_fly"] = "stored"
    unknown_source: Probability = 0.1

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


@dataclass(frozen=True)
class Sizes:
    """Numbers of frames and of tokens of the utterances of a set, in its order; 8 bytes each."""

    frames: array[int]
    tokens: array[int]

    @classmethod
    def of(cls, sizes: Iterable[tuple[int, int]]) -> Sizes:
        """Take the pairs of frames and tokens of all utterances."""
        frames, tokens = array("I"), array("I")
        for one, other in sizes:
            frames.append(one)
            tokens.append(other)
        return cls(frames, tokens)

    def chosen(self, numbers: Iterable[int]) -> Sizes:
        """Return the sizes of these utterances alone."""
        return self.of((self.frames[n], self.tokens[n]) for n in numbers)

    def __len__(self) -> int:
        return len(self.frames)


@dataclass
class PaddedConstraint(SamplingConstraint):
    """Bound on the padded size of a batch, in frames and in tokens.

    A batch comes from one bucket, and its next utterance is assumed to be as long as the longest
    utterance and transcript of that bucket. So the bound is never exceeded, except by a single
    utterance that exceeds it alone.

    The examples are numbers of utterances, not cuts, which a large corpus keeps on disk.

    Attributes:
        config: holds the bounds.
        sizes: sizes of all utterances.
        bins: upper edges of all buckets but the last, in frames.
        longest: longest utterance (frames) and longest transcript (tokens) of each bucket.
        count, max_frames, max_tokens, bucket: number of utterances in the current batch, their
            longest utterance (frames) and transcript (tokens), and their bucket.
    """

    config: DataConfig
    sizes: Sizes
    bins: list[float]
    longest: list[tuple[int, int]]
    count: int = 0
    max_frames: int = 0
    max_tokens: int = 0
    bucket: int = 0

    @classmethod
    def fit(cls, sizes: Sizes, config: DataConfig) -> PaddedConstraint:
        """Choose buckets with about equal numbers of frames, and find the longest cuts of each."""
        constraint = cls(config, sizes, bins=[], longest=[(0, 0)])
        num_buckets = min(config.num_buckets, len(sizes))
        if num_buckets > 1:
            numbers = cast("Iterable[Cut]", range(len(sizes)))
            bins = estimate_duration_buckets(numbers, num_buckets, constraint)
            constraint.bins = sorted({float(b) for b in bins})
            constraint.longest = [(0, 0)] * (len(constraint.bins) + 1)
        for frames, count in zip(sizes.frames, sizes.tokens, strict=True):
            bucket = constraint.select_bucket(constraint.bins, example_len=frames)
            longest = constraint.longest[bucket]
            constraint.longest[bucket] = (max(longest[0], frames), max(longest[1], count))
        return constraint

    def add(self, example: Any) -> None:
        frames, tokens = self.sizes.frames[example], self.sizes.tokens[example]
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

    def fits(self, numbers: Iterable[int], fullness: float = 1.0) -> bool:
        """Whether a batch of these utterances is within the share `fullness` of the bound."""
        numbers = list(numbers)
        frames = max(self.sizes.frames[n] for n in numbers)
        tokens = max(self.sizes.tokens[n] for n in numbers)
        return not self._exceeds(len(numbers) / fullness, frames, tokens)

    def reset(self) -> None:
        self.count = self.max_frames = self.max_tokens = self.bucket = 0

    def measure_length(self, example: Any) -> float:
        return self.sizes.frames[example]


def sample_batches(sizes: Sizes, config: DataConfig, seed: int) -> list[array[int]]:
    """Compose an epoch's batches, with every utterance in exactly one; no cut is read.

    Each bucket leaves a remainder, often of one or two utterances. lhotse's sampler yields all
    remainders at the end of the epoch, which gives twenty noisy training steps in a row. The
    remainders are therefore joined, and all batches shuffled.

    Args:
        sizes: sizes of all utterances.
        config: settings of batches.
        seed: seed of the order, which depends on nothing else but the sizes.

    Returns:
        The numbers of the utterances of each batch; 4 bytes for each utterance.
    """
    constraint = PaddedConstraint.fit(sizes, config)
    rng = random.Random(seed)
    numbers = array("I", range(len(sizes)))
    rng.shuffle(numbers)
    batches = _with_joined_remnants(_buckets(numbers, constraint, seed), constraint)
    rng.shuffle(batches)
    return batches


def _with_joined_remnants(
    batches: Iterable[array[int]], constraint: PaddedConstraint
) -> list[array[int]]:
    """Join the batches that are less than half full, in order of length, within the bound."""
    whole, remnants = [], []
    for batch in batches:
        (remnants if constraint.fits(batch, fullness=0.5) else whole).append(batch)
    joined: list[array[int]] = []
    for batch in sorted(remnants, key=lambda b: max(constraint.sizes.frames[n] for n in b)):
        if joined and constraint.fits(joined[-1] + batch):
            joined[-1] += batch
        else:
            joined.append(batch)
    return whole + joined


def _buckets(numbers: array[int], constraint: PaddedConstraint, seed: int) -> Iterator[array[int]]:
    """Yield the batches of lhotse's `DynamicBucketingSampler` for one process.

    The sampler itself marks the cuts that it yields, but what forms its batches takes anything.
    """
    bucketer = DynamicBucketer(
        cast("array[Any]", numbers),
        duration_bins=constraint.bins,
        world_size=1,
        constraint=constraint,
        buffer_size=constraint.config.buffer_size,
        shuffle=True,
        rng=random.Random(seed),
        bucket_rng=random.Random(_BUCKET_SEED),
    )
    for batch in bucketer:
        yield array("I", batch)

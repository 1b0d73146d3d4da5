"""Batches of utterances for training and evaluation.

A training batch depends only on (seed, epoch, batch index), not on the number of loader processes
and not on the step at which training was resumed.

Suffixes: B batch, T frames, F mel bins, U tokens, C values of a membership.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from asrlib.data.augment import (
    SILENCE,
    AugmentConfig,
    Equaliser,
    Silence,
    SpecMasks,
    VocalTractWarp,
    add_noise,
    seeded,
    shift,
)
from asrlib.data.cuts import chosen_cuts
from asrlib.data.membership import Membership, memberships
from asrlib.data.sampler import DataConfig, Sizes, sample_batches
from asrlib.data.share import WHOLE, RankShare
from asrlib.data.source_symbols import SourceSymbols
from asrlib.errors import ConfigError, DataError
from asrlib.features import lhotse_fbank, on_the_fly, storage  # noqa: F401  (for lhotse)
from asrlib.features.fbank import FbankConfig
from asrlib.seeds import derive_seed
from asrlib.text import Tokenizer
from asrlib.text.tokenizer import BLANK_ID


@dataclass
class Batch:
    """A batch of utterances, padded to the longest.

    Attributes:
        x_BTF: float32 log filter banks, padded with silence.
        x_lengths_B: int64 numbers of frames.
        tokens_BU: int64 token ids, padded with 0.
        token_lengths_B: int64 numbers of tokens.
        ids: cut ids.
        texts: normalised transcripts.
        word_ends: end times of each utterance's words, seconds, or None where unknown.
        membership_BC: cohort memberships [top, bottom], float32; zeros where unknown.
        first_B: int64 first symbols of the predictor; blank where the source is unknown.
    """

    x_BTF: Tensor
    x_lengths_B: Tensor
    tokens_BU: Tensor
    token_lengths_B: Tensor
    ids: list[str]
    texts: list[str]
    word_ends: list[list[float] | None]
    membership_BC: Tensor
    first_B: Tensor


def train_batches(
    cuts: CutSet,
    tokenizer: Tokenizer,
    data: DataConfig,
    augment: AugmentConfig,
    *,
    fbank: FbankConfig,
    seed: int,
    epoch: int,
    start_batch: int = 0,
    noise: CutSet | None = None,
    num_workers: int = 0,
    membership: Membership | None = None,
    sources: SourceSymbols | None = None,
    share: RankShare = WHOLE,
) -> Iterator[Batch]:
    """Yield an epoch's batches, shuffled and augmented, from number `start_batch` on.

    A batch is found by its number, so that no skipped batch is read or made; the other batches
    equal those of an uninterrupted epoch.

    Args:
        cuts: training cuts with features, as stage 2 leaves them; those of `filter_trainable` know
            their sizes, and others are counted here.
        fbank: configuration of these features.
        noise: noise cuts with features (`asrlib.data.noise.load_noise`), added as `augment` says.
        num_workers: number of processes that load batches ahead; 0 loads in this process. The
            batches are the same.
        membership: the cohorts of the speakers; None if they are not known.
        sources: the first symbols by speaker; None without `tokens.sources`.
        share: the share of each batch that is read; a rank augments with seeds of its own.

    Raises:
        ConfigError: `augment` requires noise and there is none.
    """
    if augment.noise_probability > 0 and not noise:
        raise ConfigError(
            f"augment.noise_probability: {augment.noise_probability}, but there is no noise",
            "run stage 2 again, which makes noise, or set augment.noise_probability to 0",
        )
    sizes = sizes_of(cuts, tokenizer)
    batches = sample_batches(sizes, data, derive_seed(seed, epoch))
    if epoch < data.sorted_epochs:
        batches.sort(key=lambda batch: max(sizes.frames[n] for n in batch))
    shared = [share.of(batch, length=lambda n: sizes.frames[n]) for batch in batches]
    dataset = _TrainingSet(
        cuts, shared, tokenizer, augment, fbank, noise, seed, epoch, membership, sources, share
    )
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(start_batch, len(batches)),
        num_workers=num_workers,
        # The loader draws its workers' seed from this generator, not from torch's global one.
        generator=torch.Generator().manual_seed(0),
    )
    yield from loader


class SizedCuts(CutSet):
    """Cuts, in memory or on disk, whose sizes are known; what lhotse derives of it knows none."""

    def __init__(self, cuts: Iterable[Cut] | None = None, sizes: Sizes | None = None) -> None:
        super().__init__(cuts)
        self.sizes = sizes


def sizes_of(cuts: CutSet, tokenizer: Tokenizer) -> Sizes:
    """Return the sizes of cuts; they are counted unless they are known."""
    if isinstance(cuts, SizedCuts) and cuts.sizes is not None:
        return cuts.sizes
    return Sizes.of((_num_frames(cut), len(tokenizer.encode(_text(cut)))) for cut in cuts)


def eval_batches(
    cuts: CutSet,
    tokenizer: Tokenizer,
    max_frames: int,
    membership: Membership | None = None,
    sources: SourceSymbols | None = None,
) -> Iterator[Batch]:
    """Yield every cut once, unaugmented, longest first.

    Args:
        max_frames: bound on a batch's padded size, in frames.
        membership: the cohorts of the speakers; None if they are not known.
        sources: the first symbols by speaker; None without `tokens.sources`.
    """

    def batch(group: list[Cut]) -> Batch:
        known_BC = None if membership is None else membership.of(group)
        first_B = None if sources is None else sources.of(group)
        features = [_features(cut) for cut in group]
        return collate(group, features, tokenizer, membership_BC=known_BC, first_B=first_B)

    group: list[Cut] = []
    order = sorted((-_num_frames(cut), cut.id, number) for number, cut in enumerate(cuts))
    for _, _, number in order:
        cut = cuts[number]
        if group and (len(group) + 1) * _num_frames(group[0]) > max_frames:
            yield batch(group)
            group = []
        group.append(cut)
    if group:
        yield batch(group)


def filter_trainable(cuts: CutSet, tokenizer: Tokenizer, frames_per_output: int) -> CutSet:
    """Drop cuts with fewer than tokens + 2 output frames, and log their ids.

    The pruned loss cannot align more tokens than frames; the margin of 2 is icefall's.

    Args:
        frames_per_output: subsampling factor of the encoder.

    Raises:
        DataError: no cut remains.
    """
    sizes, kept = sizes_of(cuts, tokenizer), array("I")
    for number, (frames, tokens) in enumerate(zip(sizes.frames, sizes.tokens, strict=True)):
        outputs = frames // frames_per_output
        if outputs - 2 < tokens:
            name = cuts[number].id
            logging.warning("dropped %s: %d tokens in %d output frames", name, tokens, outputs)
        else:
            kept.append(number)
    if not kept:
        raise DataError(
            "no utterance is long enough for its tokens",
            "lower the encoder's subsampling or raise tokens.vocab_size",
        )
    return SizedCuts(chosen_cuts(cuts, kept).data, sizes.chosen(kept))


class _TrainingSet(Dataset):
    """Dataset that loads and augments one numbered batch of cuts per item."""

    def __init__(
        self,
        cuts: CutSet,
        batches: Sequence[Sequence[int]],
        tokenizer: Tokenizer,
        augment: AugmentConfig,
        fbank: FbankConfig,
        noise: CutSet | None,
        seed: int,
        epoch: int,
        membership: Membership | None,
        sources: SourceSymbols | None,
        share: RankShare,
    ) -> None:
        self._cuts = cuts
        self._batches = batches
        self._tokenizer = tokenizer
        self._augment = augment
        self._noise = noise
        self._warp = VocalTractWarp(augment.vocal_tract, fbank)
        self._equaliser = Equaliser(augment.gain, augment.equaliser)
        self._silence = Silence(augment, fbank.frame_shift)
        self._frame_shift = fbank.frame_shift
        self._masks = SpecMasks(augment) if epoch >= augment.spec_start_epoch else None
        self._seed = seed
        self._epoch = epoch
        self._membership, self._sources = membership, sources
        self._share = share

    def __getitem__(self, index: int) -> Batch:
        cuts = CutSet.from_cuts(self._cuts[n] for n in self._batches[index])
        seed = self._share.seed(derive_seed(self._seed, self._epoch, index))
        drawn_BC = None
        if self._membership is not None:
            drawn_BC = self._membership.drawn(cuts, self._seed, self._epoch)
        first_B = None
        if self._sources is not None:
            first_B = self._sources.drawn(cuts, self._seed, self._epoch)
        with seeded(seed):
            if self._augment.noise_probability > 0 and self._noise is not None:
                cuts = add_noise(cuts, self._noise, self._augment, seed)
            features = [self._equaliser(self._warp(_features(cut))) for cut in cuts]
            shifted = [self._shifted(x, cut) for x, cut in zip(features, cuts, strict=True)]
            longer, leads = self._silence(shifted)
            leads = [
                lead + len(new) - len(old)
                for lead, new, old in zip(leads, shifted, features, strict=True)
            ]
            if self._masks is not None:
                longer = [self._masks(x_TF) for x_TF in longer]
        leads = [frames * self._frame_shift for frames in leads]
        return collate(list(cuts), longer, self._tokenizer, leads, drawn_BC, first_B)

    def _shifted(self, x_TF: Tensor, cut: Cut) -> Tensor:
        return shift(x_TF, self._augment.frame_offset, self._seed, self._epoch, cut.id)


def collate(
    cuts: Iterable[Cut],
    features: list[Tensor],
    tokenizer: Tokenizer,
    leads: list[float] | None = None,
    membership_BC: Tensor | None = None,
    first_B: Tensor | None = None,
) -> Batch:
    """Pad the features (T, F) and transcripts of `cuts` into a batch, in the given order.

    Args:
        leads: seconds of silence that were added before each utterance.
        membership_BC: memberships of the utterances; None if they are not known.
        first_B: first symbols of the utterances; None if no source is known.
    """
    cuts = list(cuts)
    leads = leads or [0.0] * len(cuts)
    if membership_BC is None:
        membership_BC = memberships([None] * len(cuts))
    texts = [_text(cut) for cut in cuts]
    tokens = [torch.tensor(tokenizer.encode(text), dtype=torch.int64) for text in texts]
    return Batch(
        x_BTF=pad_sequence(features, batch_first=True, padding_value=SILENCE),
        x_lengths_B=torch.tensor([len(x_TF) for x_TF in features]),
        tokens_BU=pad_sequence(tokens, batch_first=True),
        token_lengths_B=torch.tensor([len(y_U) for y_U in tokens]),
        ids=[cut.id for cut in cuts],
        texts=texts,
        word_ends=[_word_ends(cut, lead) for cut, lead in zip(cuts, leads, strict=True)],
        membership_BC=membership_BC,
        first_B=torch.full((len(cuts),), BLANK_ID) if first_B is None else first_B,
    )


def _features(cut: Cut) -> Tensor:
    return torch.from_numpy(cut.load_features())


def _num_frames(cut: Cut) -> int:
    if cut.num_frames is None:
        raise DataError(f"cut {cut.id}: has no features", "run stage 2 again")
    return cut.num_frames


def _text(cut: Cut) -> str:
    return cut.supervisions[0].text or ""


def _word_ends(cut: Cut, lead: float) -> list[float] | None:
    alignment = (cut.supervisions[0].alignment or {}).get("word")
    return None if alignment is None else [lead + item.end for item in alignment]

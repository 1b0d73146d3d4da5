"""Batches of mixtures: made on the fly for training, and read from disk for validation.

A training batch depends only on (seed, epoch, batch index), not on the number of loader processes
and not on the step at which training was resumed. The main process makes the plans; the loader
processes mix the audio and compute its filter banks.

Suffixes: B batch, N output channels, T frames, F mel bins, U labels.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from lhotse import CutSet, MonoCut
from lhotse.cut import Cut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from asrlib.data.augment import SILENCE, AugmentConfig, SpecMasks, seeded
from asrlib.data.mixing import Mixer
from asrlib.data.mixtures import NUM_CHANNELS, Mixture, MixtureConfig, MixturePlanner
from asrlib.data.sampler import DataConfig
from asrlib.data.share import WHOLE, RankShare
from asrlib.errors import DataError
from asrlib.features.extract import audio_reader, load_cut_audio
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.seeds import derive_seed
from asrlib.text import Tokenizer
from asrlib.text.turn_labels import TurnStyle, channel_labels, turn_label_ends


@dataclass(frozen=True)
class MixtureBatch:
    """A batch of mixtures, padded to the longest.

    Attributes:
        x_BTF: float32 log filter banks of the mixed audio, padded with silence.
        x_lengths_B: int64 numbers of frames.
        tokens_BNU: int64 labels of each channel, with turn symbols, padded with blank; U may be 0.
        token_lengths_BN: int64 numbers of labels; 0 for a silent channel, which is legal.
        turn_ends_BNU: float32 times, seconds: at an `<eot>` the end of its turn, elsewhere inf.
        speech_BNT: bool, whether somebody talks on the channel in the middle of the frame.
        ids: mixture ids.
    """

    x_BTF: Tensor
    x_lengths_B: Tensor
    tokens_BNU: Tensor
    token_lengths_BN: Tensor
    turn_ends_BNU: Tensor
    speech_BNT: Tensor
    ids: list[str]


@dataclass(frozen=True)
class MixtureFormat:
    """Settings for features and labels of mixtures, the same in training and validation."""

    tokenizer: Tokenizer
    fbank: FbankConfig
    style: TurnStyle = "sot_eot"


class MixtureTrainingSet:
    """Training mixtures of a set's utterances; every epoch has new ones.

    Args:
        cuts: utterances with one supervision each, as stage 1 or (with perturbed speeds) stage 2
            leaves them; their features are not used.
        frames_per_output: subsampling factor of the encoder. Mixtures with fewer than labels + 2
            output frames are left out, as in `asrlib.data.dataset.filter_trainable`.

    Raises:
        DataError: `MixturePlanner` refuses the cuts, or audio and features differ in sample rate.
    """

    def __init__(
        self,
        cuts: Iterable[MonoCut],
        config: MixtureConfig,
        format: MixtureFormat,
        data: DataConfig,
        augment: AugmentConfig,
        frames_per_output: int = 1,
    ) -> None:
        cuts = list(cuts)
        self.config, self.format, self.data, self.augment = config, format, data, augment
        self.frames_per_output = frames_per_output
        for cut in cuts:
            _check_rate(cut, format.fbank)
        self.planner = MixturePlanner(cuts, config, "training set")
        self.mixer = Mixer(cuts, config, config.rooms)
        encode = format.tokenizer.encode
        self._num_tokens = {c.id: len(encode(c.supervisions[0].text or "")) for c in cuts}

    def plan_epoch(self, seed: int, epoch: int) -> list[list[Mixture]]:
        """Plan the batches of an epoch, in order, without reading audio."""
        mean_turns = sum(self.config.turns) / 2
        number = self.config.per_epoch or math.ceil(self.planner.num_utterances / mean_turns)
        plans = [
            self.planner.random(f"mix-{seed}-{epoch}-{i}", seed, epoch, i) for i in range(number)
        ]
        sizes = [self._size(plan) for plan in plans]
        fit = [
            i
            for i, (frames, labels) in enumerate(sizes)
            if frames // self.frames_per_output - 2 >= labels
        ]
        if len(fit) < number:
            logging.info("epoch %d: %d mixtures too dense to align", epoch, number - len(fit))
        batches = bounded_batches({i: sizes[i] for i in fit}, self.data)
        if epoch >= self.data.sorted_epochs:
            random.Random(derive_seed(seed, epoch)).shuffle(batches)
        return [[plans[i] for i in batch] for batch in batches]

    def _size(self, plan: Mixture) -> tuple[int, int]:
        """Return a plan's frames, and the labels of its fuller channel, turn symbols included."""
        config = self.format.fbank
        labels = [0] * NUM_CHANNELS
        for turn in plan.turns:
            symbols = 2 if labels[turn.channel] else 0
            labels[turn.channel] += self._num_tokens[turn.cut] + symbols
        return config.num_frames(round(plan.duration * config.sample_rate)), max(labels)

    def batches(
        self,
        seed: int,
        epoch: int,
        start_batch: int = 0,
        num_workers: int = 0,
        share: RankShare = WHOLE,
    ) -> Iterator[MixtureBatch]:
        """Yield an epoch's batches from number `start_batch` on; skipped batches are not mixed.

        Args:
            num_workers: number of processes that mix ahead; 0 mixes in this process. The batches
                are the same.
            share: the share of each batch that is mixed; a rank draws masks of its own.

        Raises:
            DataError: an utterance's file cannot be read.
        """
        plans = self.plan_epoch(seed, epoch)
        shared = (share.of(batch, length=lambda plan: plan.duration) for batch in plans)
        loader = DataLoader(
            _TrainingMixtures(self, seed, epoch, share),
            batch_size=None,
            sampler=islice(enumerate(shared), start_batch, None),
            num_workers=num_workers,
            # The loader draws its workers' seed from this generator, not from torch's global one.
            generator=torch.Generator().manual_seed(0),
        )
        yield from loader


def mixture_eval_batches(
    cuts: CutSet, format: MixtureFormat, max_frames: int
) -> Iterator[MixtureBatch]:
    """Yield every stored mixture once, unaugmented, longest first.

    Args:
        cuts: cuts of `data/mix_<set>/`.
        max_frames: bound on a batch's padded size, in frames.

    Raises:
        DataError: a mixture is unreadable, has another sample rate than the features, or has a
            turn without a channel, without words or on a channel beyond the second.
    """
    extractor = FbankExtractor(format.fbank)
    group: list[_Example] = []
    for cut in sorted(cuts, key=lambda cut: (-cut.duration, cut.id)):
        _check_rate(cut, format.fbank)
        with audio_reader():
            samples_N = torch.from_numpy(load_cut_audio(cut)[0])
        example = _example(cut, extractor(samples_N), format)
        if group and (len(group) + 1) * len(group[0].x_TF) > max_frames:
            yield _collate(group)
            group = []
        group.append(example)
    if group:
        yield _collate(group)


def bounded_batches(sizes: Mapping[int, tuple[int, int]], data: DataConfig) -> list[list[int]]:
    """Group indices into batches of similar length, shortest first, within the bounds of `data`.

    Every epoch draws new mixtures, so grouping by length costs no randomness. A mixture
    that exceeds the bounds becomes a batch of its own.

    Args:
        sizes: numbers of frames and labels by index.
    """
    batches: list[list[int]] = []
    most = 0
    for index in sorted(sizes, key=lambda i: (sizes[i], i)):
        frames, labels = sizes[index]
        most = max(most, labels)
        count = len(batches[-1]) + 1 if batches else 1
        if not batches or count * frames > data.max_frames or count * most > data.max_tokens:
            batches.append([])
            most = labels
        batches[-1].append(index)
    return batches


class _TrainingMixtures(Dataset):
    """Dataset that mixes, extracts and augments one numbered batch of plans per item."""

    def __init__(self, source: MixtureTrainingSet, seed: int, epoch: int, share: RankShare) -> None:
        self._source, self._seed, self._epoch, self._share = source, seed, epoch, share
        masked = source.config.masks and epoch >= source.augment.spec_start_epoch
        self._masks = SpecMasks(source.augment) if masked else None

    def __getitem__(self, index: tuple[int, Sequence[Mixture]]) -> MixtureBatch:
        number, plans = index
        source = self._source
        extractor = FbankExtractor(source.format.fbank)
        examples = []
        with seeded(self._share.seed(derive_seed(self._seed, self._epoch, number))):
            for plan in plans:
                cut, samples_N = source.mixer.render(plan)
                x_TF = extractor(torch.from_numpy(samples_N))
                x_TF = self._masks(x_TF) if self._masks is not None else x_TF
                examples.append(_example(cut, x_TF, source.format))
        return _collate(examples)


@dataclass(frozen=True)
class _Example:
    """A mixture's features, and the labels, turn ends (s) and speech flags of each channel."""

    id: str
    x_TF: Tensor
    labels: list[list[int]]
    ends: list[list[float]]
    speech_NT: Tensor


def _example(cut: Cut, x_TF: Tensor, format: MixtureFormat) -> _Example:
    times_T = (torch.arange(len(x_TF)) + 0.5) * format.fbank.frame_shift
    speech_NT = torch.zeros(NUM_CHANNELS, len(x_TF), dtype=torch.bool)
    tokens: list[list[list[int]]] = [[] for _ in range(NUM_CHANNELS)]
    ends: list[list[float]] = [[] for _ in range(NUM_CHANNELS)]
    for supervision in sorted(cut.supervisions, key=lambda s: s.start):
        channel = (supervision.custom or {}).get("talker_channel")
        turn = format.tokenizer.encode(supervision.text or "")
        if not isinstance(channel, int) or channel not in range(NUM_CHANNELS) or not turn:
            raise DataError(
                f"mixture {cut.id}: turn {supervision.id}: channel {channel} and "
                f"{len(turn)} tokens, but a turn needs a channel below {NUM_CHANNELS} and words",
                "make the mixtures again: python -m asrlib mixtures --force",
            )
        tokens[channel].append(turn)
        ends[channel].append(supervision.end)
        speech_NT[channel] |= (times_T >= supervision.start) & (times_T < supervision.end)
    return _Example(
        id=cut.id,
        x_TF=x_TF,
        labels=[channel_labels(turns, format.style) for turns in tokens],
        ends=[turn_label_ends(t, e, format.style) for t, e in zip(tokens, ends, strict=True)],
        speech_NT=speech_NT,
    )


def _collate(examples: Sequence[_Example]) -> MixtureBatch:
    lengths_BN = torch.tensor([[len(y) for y in e.labels] for e in examples])
    shape = (len(examples), NUM_CHANNELS, int(lengths_BN.max()))
    tokens_BNU = torch.zeros(shape, dtype=torch.int64)
    ends_BNU = torch.full(shape, math.inf)
    for b, example in enumerate(examples):
        for n in range(NUM_CHANNELS):
            length = len(example.labels[n])
            tokens_BNU[b, n, :length] = torch.tensor(example.labels[n], dtype=torch.int64)
            ends_BNU[b, n, :length] = torch.tensor(example.ends[n])
    speech_BTN = pad_sequence([e.speech_NT.T for e in examples], batch_first=True)
    return MixtureBatch(
        x_BTF=pad_sequence([e.x_TF for e in examples], batch_first=True, padding_value=SILENCE),
        x_lengths_B=torch.tensor([len(e.x_TF) for e in examples]),
        tokens_BNU=tokens_BNU,
        token_lengths_BN=lengths_BN,
        turn_ends_BNU=ends_BNU,
        speech_BNT=speech_BTN.transpose(1, 2).contiguous(),
        ids=[e.id for e in examples],
    )


def _check_rate(cut: MonoCut, fbank: FbankConfig) -> None:
    if cut.sampling_rate != fbank.sample_rate:
        raise DataError(
            f"cut {cut.id}: audio at {cut.sampling_rate} Hz, features at {fbank.sample_rate} Hz",
            "set manifests.resample: true and run stage 1 again",
        )

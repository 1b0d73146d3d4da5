"""The task of training a transducer of several talkers on mixtures.

A mixture has a label sequence for each output channel.

Shapes: B mixtures, N output channels, R = B * N label sequences, T input frames, U tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from lhotse import CutSet

from asrlib.data.mixture_dataset import MixtureBatch, MixtureTrainingSet, mixture_eval_batches
from asrlib.data.share import WHOLE, RankShare
from asrlib.errors import ConfigError
from asrlib.features.fbank import FbankConfig
from asrlib.text.tokenizer import Tokenizer
from asrlib.text.turn_labels import EOT
from asrlib.training.config import TrainConfig
from asrlib.training.transducer_task_base import TransducerTaskBase
from asrlib.transducer.model import Transducer, TransducerLoss, TurnTargets


class MixtureSource(Protocol):
    """Mixtures to train on. They depend only on the configuration, the seed and the epoch."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def fbank(self) -> FbankConfig: ...

    def batches_per_epoch(self) -> int:
        """Return the approximate number of batches in an epoch."""
        ...

    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterable[MixtureBatch]:
        """Return the batches of an epoch, beginning with number `start_batch`.

        Epochs and batches are counted from 0. Every call gives the same batches. Of each of them
        only the items of `share` are read.
        """
        ...

    def dev_batches(self) -> Iterable[MixtureBatch]:
        """Return the batches of the dev set; every call gives the same mixtures."""
        ...


@dataclass(frozen=True)
class RecipeMixtures:
    """Mixtures of a recipe: training mixtures are made on the fly, dev mixtures are read.

    Attributes:
        train: the set that plans and makes the training mixtures.
        dev: the mixtures of `data/mix_dev`.
        max_frames: largest number of input frames in a dev batch, padding included.
        seed: seed of the training mixtures.
        num_workers: number of processes that make training mixtures.
    """

    train: MixtureTrainingSet
    dev: CutSet
    max_frames: int
    seed: int
    num_workers: int

    @property
    def tokenizer(self) -> Tokenizer:
        return self.train.format.tokenizer

    @property
    def fbank(self) -> FbankConfig:
        return self.train.format.fbank

    def batches_per_epoch(self) -> int:
        return len(self.train.plan_epoch(self.seed, 0))

    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterable[MixtureBatch]:
        return self.train.batches(self.seed, epoch, start_batch, self.num_workers, share)

    def dev_batches(self) -> Iterable[MixtureBatch]:
        return mixture_eval_batches(self.dev, self.train.format, self.max_frames)


class TalkerTask(TransducerTaskBase[MixtureBatch]):
    """The task of training a transducer with several output channels.

    The loss is `-sum_n log P(y_n | h_n)`; the data assigns turns to channels
    (arXiv 2205.05199).

    Args:
        model, config: see `TransducerTaskBase`.
        source: the mixtures.

    Raises:
        ConfigError: `train.dev_wer_utts` asks for a word error rate, which needs one channel.
    """

    def __init__(self, model: Transducer, source: MixtureSource, config: TrainConfig) -> None:
        if config.dev_wer_utts:
            raise ConfigError(
                f"train.dev_wer_utts: {config.dev_wer_utts}, but mixtures of talkers have no plain"
                " word error rate",
                "set train.dev_wer_utts=0 and train.best_by=loss",
            )
        super().__init__(model, source.tokenizer, source.fbank, config)
        self.source = source

    def batches_per_epoch(self) -> int:
        return self.source.batches_per_epoch()

    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterable[MixtureBatch]:
        return self.source.train_batches(epoch, start_batch, share)

    def dev_batches(self) -> Iterable[MixtureBatch]:
        return self.source.dev_batches()

    def _num_tokens(self, batch: MixtureBatch) -> float:
        return float(batch.token_lengths_BN.sum())

    def _loss(self, batch: MixtureBatch, step: int) -> TransducerLoss:
        self._check_channels(batch)
        shift = self.fbank.frame_shift
        turns = TurnTargets(
            label_ends_RU=(batch.turn_ends_BNU / shift).flatten(0, 1).to(self.device),
            speech_RT=batch.speech_BNT.flatten(0, 1).to(self.device),
        )
        return self.model.loss(
            batch.x_BTF.to(self.device),
            batch.x_lengths_B.to(self.device),
            batch.tokens_BNU.flatten(0, 1).to(self.device),
            batch.token_lengths_BN.flatten().to(self.device),
            step,
            turns,
        )

    def _check_channels(self, batch: MixtureBatch) -> None:
        labels, outputs = batch.token_lengths_BN.shape[1], self.model.encoder.num_channels
        if labels != outputs:
            raise ConfigError(
                f"mixtures of {labels} channels do not fit a model of {outputs} channels",
                f"set model.encoder.channels={labels}",
            )

    def _stats(self, batch: MixtureBatch, loss: TransducerLoss) -> dict[str, tuple[float, float]]:
        """Return the parts of the loss per encoder frame, and `eot_delay_s`.

        `eot_delay_s` is the number of seconds from the end of a turn to the expected emission of
        its `<eot>`.
        """
        seconds = self.model.encoder.subsampling * self.fbank.frame_shift
        ends_RU = batch.turn_ends_BNU.flatten(0, 1)
        heard_RU = (loss.emission_frames_RU.cpu() + 1) * seconds
        positions_U = torch.arange(ends_RU.shape[1])
        valid_RU = positions_U < batch.token_lengths_BN.flatten().unsqueeze(1)
        valid_RU &= torch.isfinite(ends_RU) & (batch.tokens_BNU.flatten(0, 1) == EOT)
        delays = (heard_RU - ends_RU)[valid_RU]
        return self._parts(loss) | {"eot_delay_s": (float(delays.sum()), float(len(delays)))}

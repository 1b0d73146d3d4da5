"""The task of training a transducer of one talker on utterances.

Shapes: B utterances, N symbols with a time, U tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from lhotse import CutSet
from lhotse.cut import Cut

from asrlib.data.augment import AugmentConfig
from asrlib.data.dataset import Batch, eval_batches, filter_trainable, sizes_of, train_batches
from asrlib.data.membership import Membership
from asrlib.data.sampler import DataConfig, sample_batches
from asrlib.data.share import WHOLE, RankShare
from asrlib.data.source_symbols import SourceSymbols
from asrlib.features.fbank import FbankConfig
from asrlib.text.tokenizer import WORD_MARK, Tokenizer
from asrlib.training.config import TrainConfig
from asrlib.training.transducer_task_base import TransducerTaskBase
from asrlib.transducer.model import Transducer, TransducerLoss


@dataclass(frozen=True)
class TransducerData:
    """Data to train a transducer on.

    Attributes:
        train, dev: the sets, with features.
        noise: noise to add to the training set; None if there is none.
        tokenizer: the tokens of the model.
        fbank: settings of the features.
        data: settings of the batches.
        augment: settings of the augmentation.
        membership: the cohorts of the speakers, for an encoder with condition; None if they are
            not known.
        sources: the first symbols of the predictor by speaker; None without `tokens.sources`.
    """

    train: CutSet
    dev: CutSet
    noise: CutSet | None
    tokenizer: Tokenizer
    fbank: FbankConfig
    data: DataConfig
    augment: AugmentConfig
    membership: Membership | None = None
    sources: SourceSymbols | None = None

    def trainable(self, subsampling: int) -> TransducerData:
        """Return the data without the utterances that are too short for the encoder's subsampling.

        An utterance is too short if its tokens cannot be aligned to the encoder's output frames.
        """
        train, dev = (
            filter_trainable(c, self.tokenizer, subsampling) for c in (self.train, self.dev)
        )
        return replace(self, train=train, dev=dev)


class TransducerTask(TransducerTaskBase[Batch]):
    """The task of training a transducer of one talker.

    Args:
        model, config: see `TransducerTaskBase`.
        source: the data.
        dev_figures: function that computes further dev metrics of the model, for example a word
            error rate. It is an argument because this module may not import the decoder.
    """

    def __init__(
        self,
        model: Transducer,
        source: TransducerData,
        config: TrainConfig,
        dev_figures: Callable[[Transducer], dict[str, float]] | None = None,
    ) -> None:
        super().__init__(model, source.tokenizer, source.fbank, config)
        self.source = source.trainable(model.encoder.subsampling)
        self.dev_figures = dev_figures

    def epoch_cuts(self, epoch: int) -> CutSet:
        """Return the utterances of an epoch, counted from 0."""
        return self.source.train

    def training_items(self) -> list[tuple[Cut, float]]:
        """Return all utterances of the epochs, and how often an epoch holds each on average."""
        return [(cut, 1.0) for cut in self.source.train]

    def batches_per_epoch(self) -> int:
        sizes = sizes_of(self.epoch_cuts(0), self.tokenizer)
        return len(sample_batches(sizes, self.source.data, self.config.seed))

    def dev_batches(self) -> Iterable[Batch]:
        source = self.source
        return eval_batches(
            source.dev,
            self.tokenizer,
            source.data.max_frames,
            membership=source.membership,
            sources=source.sources,
        )

    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterable[Batch]:
        source = self.source
        return train_batches(
            self.epoch_cuts(epoch),
            self.tokenizer,
            source.data,
            source.augment,
            fbank=self.fbank,
            seed=self.config.seed,
            epoch=epoch,
            start_batch=start_batch,
            noise=source.noise,
            num_workers=self.config.num_workers,
            membership=source.membership,
            sources=source.sources,
            share=share,
        )

    def _loss(self, batch: Batch, step: int) -> TransducerLoss:
        condition_BC = None
        if self.model.encoder.condition_dim:
            condition_BC = batch.membership_BC.to(self.device)
        return self.model.loss(
            batch.x_BTF.to(self.device),
            batch.x_lengths_B.to(self.device),
            batch.tokens_BU.to(self.device),
            batch.token_lengths_B.to(self.device),
            step,
            condition_BC=condition_BC,
            first_R=batch.first_B.to(self.device),
        )

    def _stats(self, batch: Batch, loss: TransducerLoss) -> dict[str, tuple[float, float]]:
        """Return the parts of the loss per encoder frame, and the emission times of symbols."""
        return self._parts(loss) | self._delays(batch, loss)

    def _delays(self, batch: Batch, loss: TransducerLoss) -> dict[str, tuple[float, float]]:
        """Return sums and counts of emission times in seconds.

        `symbol_offset_s` is the time of a symbol relative to the middle of the utterance, which
        k2's delay penalty uses. `symbol_delay_s` is the time of a word's last symbol relative to
        the end of the word.
        """
        shift = self.model.encoder.subsampling * self.fbank.frame_shift
        emission_BU = loss.emission_frames_RU.cpu() * shift
        middle_B1 = (loss.frames_B.cpu().unsqueeze(1) - 1) / 2 * shift
        positions_U = torch.arange(emission_BU.shape[1])
        valid_BU = positions_U < batch.token_lengths_B.unsqueeze(1)
        valid_BU &= torch.isfinite(emission_BU)
        offsets_N = (emission_BU - middle_B1)[valid_BU]
        stats = {"symbol_offset_s": (float(offsets_N.sum()), float(offsets_N.numel()))}
        delays = [
            emitted - end
            for i, ends in enumerate(batch.word_ends)
            if ends is not None
            for emitted, end in self._word_pairs(
                emission_BU[i].tolist(),
                batch.tokens_BU[i, : batch.token_lengths_B[i]].tolist(),
                ends,
            )
        ]
        return stats | {"symbol_delay_s": (sum(delays), float(len(delays)))}

    def _word_pairs(
        self, emissions_U: Sequence[float], tokens_U: Sequence[int], ends: Sequence[float]
    ) -> list[tuple[float, float]]:
        """Return (emission of the last symbol, end of the word) for each word, in seconds.

        The list is empty if the words of the tokens do not match the word ends.
        """
        piece = self.tokenizer.piece
        starts = [u for u, token in enumerate(tokens_U) if piece(token).startswith(WORD_MARK)]
        if len(starts) != len(ends) or not starts or starts[0] != 0:
            return []
        last = [u - 1 for u in starts[1:]] + [len(tokens_U) - 1]
        return [(emissions_U[u], end) for u, end in zip(last, ends, strict=True)]

    def _num_tokens(self, batch: Batch) -> float:
        return float(batch.token_lengths_B.sum())

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Compute the metrics of `TransducerTaskBase.evaluate` and those of `dev_figures`."""
        return super().evaluate() | (self.dev_figures(self.model) if self.dev_figures else {})

"""Training a transducer: the one place that knows both the trainer's protocol and the model.

Shapes: B utterances, T input frames, S encoder frames, D width, U tokens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from lhotse import CutSet
from torch import Tensor

from asrlib.data.augment import AugmentConfig
from asrlib.data.dataset import Batch, eval_batches, filter_trainable, train_batches
from asrlib.data.sampler import DataConfig, sample_batches
from asrlib.features.fbank import FbankConfig
from asrlib.layers.schedule import set_run_length
from asrlib.text.tokenizer import WORD_MARK, Tokenizer
from asrlib.training.config import TrainConfig
from asrlib.training.meter import Sums
from asrlib.training.task import LossSums
from asrlib.transducer.model import Transducer, TransducerLoss
from asrlib.transducer.model_io import transducer_payload

logger = logging.getLogger(__name__)

# Beyond any warm-up: dev losses of all steps weigh their parts alike.
_LATE = 1 << 30


@dataclass(frozen=True)
class TransducerData:
    """What a transducer is trained on, and how it is read; `noise` is to be added, if any."""

    train: CutSet
    dev: CutSet
    noise: CutSet | None
    tokenizer: Tokenizer
    fbank: FbankConfig
    data: DataConfig
    augment: AugmentConfig

    def trainable(self, subsampling: int) -> TransducerData:
        """Without the utterances that an encoder of this subsampling cannot align."""
        train, dev = (
            filter_trainable(c, self.tokenizer, subsampling) for c in (self.train, self.dev)
        )
        return replace(self, train=train, dev=dev)


class LossClock:
    """Seconds from the encoder's output to its gradient: the loss, forward and backward."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        self._start = self._end = 0.0
        encoder.register_forward_hook(self._encoded)

    def _encoded(self, module: Any, args: Any, output: tuple[Tensor, Tensor]) -> None:
        self._start = self._end = time.perf_counter()
        if output[0].requires_grad:
            output[0].register_hook(self._arrived)

    def _arrived(self, grad_BSD: Tensor) -> None:
        self._end = time.perf_counter()

    def seconds(self) -> float:
        return self._end - self._start


class TransducerTask:
    """A transducer, its data and its loss, for the trainer.

    Args:
        model: features normalised by itself (`model.encoder.norm`).
        dev_figures: further figures of the dev set, for example a word error rate; given here
            because decoding is a floor above.
    """

    def __init__(
        self,
        model: Transducer,
        source: TransducerData,
        config: TrainConfig,
        dev_figures: Callable[[Transducer], dict[str, float]] | None = None,
    ) -> None:
        self.device = torch.device(config.device)
        self.model = model.to(self.device)
        self.source = source.trainable(model.encoder.subsampling)
        self.config, self.dev_figures = config, dev_figures
        self.clock = LossClock(model.encoder)
        self.frame_shift = source.fbank.frame_shift

    def batches_per_epoch(self) -> int:
        encode = self.source.tokenizer.encode
        tokens = {cut.id: len(encode(cut.supervisions[0].text or "")) for cut in self.source.train}
        batches = sample_batches(self.source.train, tokens, self.source.data, self.config.seed)
        return sum(1 for _ in batches)

    def begin(self, total_steps: int) -> None:
        set_run_length(self.model, total_steps)

    def dev_batches(self) -> Iterable[Any]:
        return eval_batches(self.source.dev, self.source.tokenizer, self.source.data.max_frames)

    def train_batches(self, epoch: int, start_batch: int) -> Iterable[Batch]:
        source = self.source
        return train_batches(
            source.train,
            source.tokenizer,
            source.data,
            source.augment,
            fbank=source.fbank,
            seed=self.config.seed,
            epoch=epoch,
            start_batch=start_batch,
            noise=source.noise,
            num_workers=self.config.num_workers,
        )

    def loss(self, batch: Batch, step: int) -> LossSums:
        loss = self._loss(batch, step)
        return LossSums(
            per_item_B=loss.total_B,
            ids=batch.ids,
            weight=float(loss.frames_B.sum()),
            stats=self._stats(batch, loss),
            seconds=float(batch.x_lengths_B.sum()) * self.frame_shift,
            loss_seconds=self.clock.seconds,
        )

    def _loss(self, batch: Batch, step: int) -> TransducerLoss:
        return self.model.loss(
            batch.x_BTF.to(self.device),
            batch.x_lengths_B.to(self.device),
            batch.tokens_BU.to(self.device),
            batch.token_lengths_B.to(self.device),
            step,
        )

    def _stats(self, batch: Batch, loss: TransducerLoss) -> dict[str, tuple[float, float]]:
        """Parts of the loss per encoder frame, and when symbols are emitted."""
        return self._parts(loss) | self._delays(batch, loss)

    def _parts(self, loss: TransducerLoss) -> dict[str, tuple[float, float]]:
        frames = float(loss.frames_B.sum())
        parts = {"simple": loss.simple_B, "pruned": loss.pruned_B, "ctc": loss.ctc_B}
        parts |= {"masking": loss.masking_B, "eot_late": loss.late_B}
        sums = {k: (float(v.detach().sum()), frames) for k, v in parts.items() if v is not None}
        if loss.spent_B is not None and loss.full_B is not None:
            sums["compute"] = float(loss.spent_B.detach().sum()), float(loss.full_B.sum())
        return sums

    def _delays(self, batch: Batch, loss: TransducerLoss) -> dict[str, tuple[float, float]]:
        """Emission times in seconds: `symbol_offset_s` from the middle of the utterance (what
        k2's delay penalty counts), `symbol_delay_s` of words' last symbols from the words' ends.
        """
        shift = self.model.encoder.subsampling * self.frame_shift
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
        """(emission of the last symbol, end of the word); none where words do not match."""
        piece = self.source.tokenizer.piece
        starts = [u for u, token in enumerate(tokens_U) if piece(token).startswith(WORD_MARK)]
        if len(starts) != len(ends) or not starts or starts[0] != 0:
            return []
        last = [u - 1 for u in starts[1:]] + [len(tokens_U) - 1]
        return [(emissions_U[u], end) for u, end in zip(last, ends, strict=True)]

    def _num_tokens(self, batch: Any) -> float:
        return float(batch.token_lengths_B.sum())

    def drop(self, batch: Any, ids: Collection[str]) -> Any | None:
        keep = [i for i, item in enumerate(batch.ids) if item not in ids]
        if not keep:
            return None
        # Every field of a batch, tensor or list, has its utterances along the first axis.
        values = {field.name: getattr(batch, field.name) for field in fields(batch)}
        kept = {
            k: v[keep] if isinstance(v, Tensor) else [v[i] for i in keep] for k, v in values.items()
        }
        return replace(batch, **kept)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Dev loss per encoder frame (`loss`) and per token, its parts, and symbol times."""
        self.model.eval()
        sums = Sums()
        for batch in self.dev_batches():
            loss = self._loss(batch, _LATE)
            bad_B = ~torch.isfinite(loss.total_B)
            if bad_B.any():
                ids = [i for i, bad in zip(batch.ids, bad_B.tolist(), strict=True) if bad]
                logger.warning("dev: loss is not finite, left out: %s", " ".join(ids))
                kept = self.drop(batch, ids)
                if kept is None:
                    continue
                batch = kept
                loss = self._loss(batch, _LATE)
            total = float(loss.total_B.sum())
            sums.add({"loss": (total, float(loss.frames_B.sum()))})
            sums.add({"loss_per_token": (total, self._num_tokens(batch))})
            sums.add(self._stats(batch, loss))
        return sums.means() | (self.dev_figures(self.model) if self.dev_figures else {})

    def payload(self) -> dict[str, Any]:
        return transducer_payload(self.model, self.source.tokenizer, self.source.fbank)

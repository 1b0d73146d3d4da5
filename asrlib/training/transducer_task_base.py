"""Base class of the transducer tasks. Only this module connects the trainer and the model's loss.

Shapes: B items of a batch, S encoder frames, D width.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import Field, fields, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from asrlib.data.share import WHOLE, RankShare
from asrlib.features.fbank import FbankConfig
from asrlib.layers.schedule import set_run_length
from asrlib.text.tokenizer import Tokenizer
from asrlib.training.config import TrainConfig
from asrlib.training.meter import Sums
from asrlib.training.task import Batch, LossSums, WithoutState
from asrlib.transducer.model import Transducer, TransducerLoss
from asrlib.transducer.model_io import transducer_payload

logger = logging.getLogger(__name__)

# A step after any warm-up, so that the parts of a dev loss have the same weights at every step.
LATE = 1 << 30


class TransducerBatch(Batch, Protocol):
    """A dataclass of tensors and lists, all of which have the items along their first axis.

    Attributes:
        x_lengths_B: number of input frames of each item.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def x_lengths_B(self) -> Tensor: ...


BatchT = TypeVar("BatchT", bound=TransducerBatch)


def without(batch: BatchT, ids: Collection[str]) -> BatchT | None:
    """Return a batch without the given items; None if no item is left."""
    keep = [i for i, item in enumerate(batch.ids) if item not in ids]
    if not keep:
        return None
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    kept = {
        k: v[keep] if isinstance(v, Tensor) else [v[i] for i in keep] for k, v in values.items()
    }
    return replace(batch, **kept)


class LossClock:
    """Measures the seconds that the loss takes, forward and backward.

    They run from the output of the encoder to the gradient of this output.
    """

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


class TransducerTaskBase(WithoutState, ABC, Generic[BatchT]):
    """A task with a transducer and its loss; a subclass adds the batches.

    Args:
        model: the model, which normalises the features itself (`model.encoder.norm`).
        tokenizer, fbank: tokens and feature settings of the model; its checkpoints hold them.
        config: settings of training.
    """

    def __init__(
        self, model: Transducer, tokenizer: Tokenizer, fbank: FbankConfig, config: TrainConfig
    ) -> None:
        self.device = torch.device(config.device)
        self.model = model.to(self.device)
        self.tokenizer, self.fbank, self.config = tokenizer, fbank, config
        self.clock = LossClock(model.encoder)

    @abstractmethod
    def batches_per_epoch(self) -> int:
        """See `asrlib.training.task.Task`."""

    @abstractmethod
    def train_batches(
        self, epoch: int, start_batch: int, share: RankShare = WHOLE
    ) -> Iterable[BatchT]:
        """See `asrlib.training.task.Task`."""

    @abstractmethod
    def dev_batches(self) -> Iterable[BatchT]:
        """Return the batches of the dev set; every call gives the same ones."""

    @abstractmethod
    def _loss(self, batch: BatchT, step: int) -> TransducerLoss:
        """Compute the model's loss of a batch."""

    @abstractmethod
    def _stats(self, batch: BatchT, loss: TransducerLoss) -> dict[str, tuple[float, float]]:
        """Return the figures to log, as in `LossSums`: `_parts`, and figures from the labels."""

    @abstractmethod
    def _num_tokens(self, batch: BatchT) -> float:
        """Return the number of labels in a batch, without padding."""

    def begin(self, total_steps: int) -> None:
        set_run_length(self.model, total_steps)

    def loss(self, batch: BatchT, step: int) -> LossSums:
        loss = self._loss(batch, step)
        return LossSums(
            per_item_B=loss.total_B,
            ids=batch.ids,
            weight=float(loss.frames_B.sum()),
            stats=self._stats(batch, loss),
            sizes_B=loss.frames_B.detach(),
            seconds=float(batch.x_lengths_B.sum()) * self.fbank.frame_shift,
            loss_seconds=self.clock.seconds,
        )

    def _parts(self, loss: TransducerLoss) -> dict[str, tuple[float, float]]:
        """Return the parts of the loss per encoder frame.

        `compute` is the number of multiplications made, relative to the full computation.
        """
        frames = float(loss.frames_B.sum())
        parts = {"simple": loss.simple_B, "pruned": loss.pruned_B, "ctc": loss.ctc_B}
        parts |= {"masking": loss.masking_B, "eot_late": loss.late_B}
        sums = {k: (float(v.detach().sum()), frames) for k, v in parts.items() if v is not None}
        if loss.spent_B is not None and loss.full_B is not None:
            sums["compute"] = float(loss.spent_B.detach().sum()), float(loss.full_B.sum())
        return sums

    def drop(self, batch: BatchT, ids: Collection[str]) -> BatchT | None:
        return without(batch, ids)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Compute the dev loss per encoder frame (`loss`) and per token, and those of `_stats`."""
        return self._means(self.dev_batches())

    def _means(self, batches: Iterable[BatchT]) -> dict[str, float]:
        """Compute the metrics of `evaluate` for any batches."""
        self.model.eval()
        sums = Sums()
        for batch in batches:
            loss = self._loss(batch, LATE)
            bad_B = ~torch.isfinite(loss.total_B)
            if bad_B.any():
                ids = [i for i, bad in zip(batch.ids, bad_B.tolist(), strict=True) if bad]
                logger.warning("dev: loss is not finite, left out: %s", " ".join(ids))
                kept = self.drop(batch, ids)
                if kept is None:
                    continue
                batch = kept
                loss = self._loss(batch, LATE)
            total = float(loss.total_B.sum())
            sums.add({"loss": (total, float(loss.frames_B.sum()))})
            sums.add({"loss_per_token": (total, self._num_tokens(batch))})
            sums.add(self._stats(batch, loss))
        return sums.means()

    def payload(self) -> dict[str, Any]:
        return transducer_payload(self.model, self.tokenizer, self.fbank)

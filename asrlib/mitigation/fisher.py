"""The diagonal of a transducer's Fisher information, estimated from squared gradients.

The Fisher information of a weight is the mean over utterances of the squared gradient of the
utterance's negative log-probability. The square of a batch's gradient is no estimate of it, because
it also holds the products of the gradients of different utterances. With independent random signs
s, these products cancel in expectation: E[(sum_b s_b g_b)^2] = sum_b g_b^2, for any batch size.
With a batch of one utterance, the sign has no effect and the estimate is exact.

The gradients are those of the pruned loss alone, with the model in evaluation mode, without
FastEmit and delay penalties, which change gradients but no probability. Decoding does not use the
layers of the simple loss and of the CTC loss, so they have no Fisher information.

Shapes: B utterances of a batch.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from asrlib.data.dataset import Batch
from asrlib.errors import DataError
from asrlib.seeds import derive_seed
from asrlib.training.out_of_memory import halves, is_out_of_memory
from asrlib.training.transducer_task_base import LATE, without
from asrlib.transducer.model import Transducer

DECODING_PARTS = ("encoder", "predictor", "joiner")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fisher:
    """The diagonal of the Fisher information, divided by its mean over all weights.

    Attributes:
        diagonal: values by name of the weight, float32; their mean is 1.
        mean: the mean before the division, in squared nats per squared unit of weight.
        utterances: number of utterances that it is estimated from.
    """

    diagonal: dict[str, Tensor]
    mean: float
    utterances: int


def decoding_weights(
    model: Transducer, parts: Collection[str] = DECODING_PARTS
) -> dict[str, nn.Parameter]:
    """Return the weights that decoding uses, by name, or those of some parts only."""
    return {
        name: weight for name, weight in model.named_parameters() if name.partition(".")[0] in parts
    }


def train_only(model: Transducer, parts: Collection[str] = DECODING_PARTS) -> None:
    """Give gradients to the weights of some parts, and to no other weight."""
    model.requires_grad_(False)
    for weight in decoding_weights(model, parts).values():
        weight.requires_grad_(True)


def for_fisher(model: Transducer) -> Transducer:
    """Return a copy of a model whose loss is a log-probability, and whose gradients are needed."""
    own = copy.deepcopy(model).eval()
    own.config = replace(
        own.config, loss=replace(own.config.loss, fast_emit=0.0, delay_penalty=0.0)
    )
    train_only(own)
    return own


def estimate_fisher(model: Transducer, batches: Iterable[Batch], seed: int) -> Fisher:
    """Estimate the Fisher information with one gradient per batch.

    The estimate of an utterance in a batch of one is exact. Signs depend on (seed, id), so that the
    estimate does not change, up to rounding, if a batch is divided to fit into memory.

    Args:
        model: a model as `for_fisher` returns it.
        batches: utterances of general speech, with the labels to use.
        seed: seed of the signs.

    Raises:
        DataError: no utterance has a finite loss, all gradients are 0, or an utterance does not fit
            into memory alone.
    """
    weights = decoding_weights(model)
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    count = 0
    # cuDNN has no backward pass for recurrent layers in evaluation mode.
    with torch.backends.cudnn.flags(enabled=False):
        for batch in batches:
            count += _signed_gradient(model, batch, seed)
            for name, weight in weights.items():
                if weight.grad is not None:
                    sums[name] += weight.grad.square()
    total = sum(float(s.sum(dtype=torch.float64)) for s in sums.values())
    if not total > 0.0:
        raise DataError(
            f"the Fisher information is {total:g} in all: {count} utterances have a finite loss",
            "raise mitigation.adaptation.fisher.utterances, or check the start",
        )
    mean = total / sum(s.numel() for s in sums.values())
    return Fisher({name: (s / mean).cpu() for name, s in sums.items()}, mean / count, count)


def _signed_gradient(model: Transducer, batch: Batch, seed: int) -> int:
    """Compute the gradient of the batch's losses with random signs; return the number of losses.

    The gradients of the parts of a batch that does not fit into memory are added before squaring.
    """
    parts: list[Sequence[str]] = [batch.ids]
    while True:
        model.zero_grad(set_to_none=True)
        try:
            return sum(_backward(model, _part(batch, ids), seed) for ids in parts)
        except (RuntimeError, MemoryError) as e:
            if not is_out_of_memory(e):
                raise
            if all(len(ids) == 1 for ids in parts):
                raise DataError(
                    f"Fisher information: an utterance of {' '.join(batch.ids)} does not fit into "
                    f"memory, even alone: {e}",
                    "lower data.max_frames, or give more memory",
                ) from e
        parts = halves(parts)
        logger.warning("out of memory; the Fisher information again in %d parts", len(parts))


def _part(batch: Batch, ids: Sequence[str]) -> Batch | None:
    return without(batch, set(batch.ids).difference(ids))


def _backward(model: Transducer, batch: Batch | None, seed: int) -> int:
    """Add the gradient of the signed losses; utterances whose loss is not finite are left out."""
    while batch is not None:
        loss_B = pruned_losses(model, batch)
        finite = torch.isfinite(loss_B).tolist()
        if all(finite):
            signs = [1.0 - 2.0 * (derive_seed(seed, "sign", item) % 2) for item in batch.ids]
            (loss_B.new_tensor(signs) * loss_B).sum().backward()
            return len(batch.ids)
        bad = [item for item, fine in zip(batch.ids, finite, strict=True) if not fine]
        logger.warning("Fisher information: no finite loss, left out: %s", " ".join(bad))
        batch = without(batch, bad)
    return 0


def pruned_losses(model: Transducer, batch: Batch) -> Tensor:
    """Compute the pruned loss (B) of each utterance in nats, differentiable."""
    device = model.joiner.output_linear.weight.device
    return model.loss(
        batch.x_BTF.to(device),
        batch.x_lengths_B.to(device),
        batch.tokens_BU.to(device),
        batch.token_lengths_B.to(device),
        LATE,
    ).pruned_B

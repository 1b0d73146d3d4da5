"""Sums over all processes (ranks) of a training, for layers and losses that see the whole batch.

In a training by several ranks, each has a share of the items of a batch. What a model computes from
all of them, such as the statistics of batch normalisation, is summed here, in the forward pass and
in the gradient, so that the ranks together do what one rank does with the whole batch. The ranks
must call these functions in the same order. Without `torch.distributed`, or with one rank, they
return their input.

A rank without items of its own is idle: it takes part in every sum, but adds nothing.

Shapes: R ranks, D channels, N items of all ranks, M items of this rank.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_idle = False


def num_ranks() -> int:
    """Return the number of ranks of this training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextlib.contextmanager
def idling(idle: bool) -> Iterator[None]:
    """Say whether this rank is idle in forward passes within the context."""
    global _idle
    before, _idle = _idle, idle
    try:
        yield
    finally:
        _idle = before


class _Sum(torch.autograd.Function):
    """The sum over ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.idle = _idle
        return _reduced(x, ctx.idle)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (grad,) = grad_outputs
        return _reduced(grad, ctx.idle)


def _reduced(x: Tensor, idle: bool) -> Tensor:
    # Zeros rather than a product with zero, since what an idle rank computes may be NaN.
    total = torch.zeros_like(x) if idle else x.clone()
    total = total.contiguous()
    dist.all_reduce(total)
    return total


@dataclass(frozen=True)
class Gathered:
    """The items of all ranks.

    Attributes:
        items: the items (N, ...).
        own: which of them are those of this rank.
        ranks: number of ranks that have any.
    """

    items: Tensor
    own: slice
    ranks: int


def gathered(items: Tensor) -> Gathered:
    """Return the items (M, ...) of all ranks, in the order of the ranks, differentiably."""
    if num_ranks() == 1:
        return Gathered(items, slice(None), 1)
    rank, count = dist.get_rank(), 0 if _idle else len(items)
    counts_R = torch.zeros(num_ranks(), dtype=torch.long, device=items.device)
    counts_R[rank] = count
    dist.all_reduce(counts_R)
    counts = counts_R.tolist()
    start = sum(counts[:rank])
    around = [start, sum(counts) - start - count]
    padded = F.pad(items[:count], [0, 0] * (items.ndim - 1) + around)
    return Gathered(_Sum.apply(padded), slice(start, start + count), sum(map(bool, counts)))


def pooled(mean_D: Tensor, var_D: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Combine the statistics of the ranks (Chan, Golub and LeVeque 1979); all are float32.

    Args:
        mean_D: mean over the values of this rank.
        var_D: their biased variance.
        count: their number.

    Returns:
        Mean, biased variance and number of the values of all ranks.
    """
    if num_ranks() == 1:
        return mean_D, var_D, count
    row_1X = torch.cat([count.reshape(1), mean_D, var_D]).unsqueeze(0)
    above = dist.get_rank()
    rows_RX = _Sum.apply(F.pad(row_1X, [0, 0, above, num_ranks() - above - 1]))
    counts_R1 = rows_RX[:, :1]
    mean_RD, var_RD = rows_RX[:, 1:].chunk(2, dim=1)
    total = counts_R1.sum().clamp(min=1.0)
    mean_D = (counts_R1 * mean_RD).sum(dim=0) / total
    apart_RD = (mean_RD - mean_D).square()
    return mean_D, (counts_R1 * (var_RD + apart_RD)).sum(dim=0) / total, total


class BatchNorm1d(nn.BatchNorm1d):
    """torch's layer, with the statistics of all ranks in training."""

    def forward(self, input: Tensor) -> Tensor:
        return _normalised(self, input) if _pools(self) else super().forward(input)


class BatchNorm2d(nn.BatchNorm2d):
    """torch's layer, with the statistics of all ranks in training."""

    def forward(self, input: Tensor) -> Tensor:
        return _normalised(self, input) if _pools(self) else super().forward(input)


def _pools(norm: _BatchNorm) -> bool:
    return norm.training and num_ranks() > 1


def _normalised(norm: _BatchNorm, x: Tensor) -> Tensor:
    """Normalise activations (B, D, ...) as torch does, with the statistics of all ranks."""
    if norm.running_mean is None or norm.running_var is None or norm.momentum is None:
        raise ValueError("batch normalisation over ranks needs running statistics with momentum")
    axes = [0, *range(2, x.ndim)]
    x_f32 = x.float()
    count = x_f32.new_tensor(x.numel() / x.shape[1])
    mean_D, var_D, count = pooled(x_f32.mean(dim=axes), x_f32.var(dim=axes, unbiased=False), count)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    with torch.no_grad():
        unbiased_D = var_D * count / (count - 1.0).clamp(min=1.0)
        norm.running_mean.lerp_(mean_D, norm.momentum)
        norm.running_var.lerp_(unbiased_D, norm.momentum)
    scale_D = norm.weight * torch.rsqrt(var_D + norm.eps)
    shape = [-1] + [1] * (x.ndim - 2)
    offset_D = norm.bias - mean_D * scale_D
    return (x_f32 * scale_D.view(shape) + offset_D.view(shape)).to(x.dtype)

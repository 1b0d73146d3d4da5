"""What ranks compute together equals what one process computes from all items, gradients too."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from rank_fakes import on_ranks
from torch import Tensor

from asrlib.layers.norm import MaskedBatchNorm
from asrlib.layers.over_ranks import BatchNorm1d, BatchNorm2d, gathered, idling
from asrlib.training.ranks import Ranks

SHARES = (slice(0, 3), slice(3, 8))  # the third rank is idle, on items that are not finite
SHAPES = {BatchNorm1d: (8, 4, 6), BatchNorm2d: (8, 4, 3, 2), MaskedBatchNorm: (8, 6, 4)}


def computed(layer: type, x: Tensor, weight: Tensor) -> list[Tensor]:
    """Output, gradient of the input and of the parameters, and statistics of a training step."""
    torch.manual_seed(0)
    norm = layer(4)
    torch.nn.init.uniform_(norm.weight)
    x = x.clone().requires_grad_()
    y = norm(x, None) if layer is MaskedBatchNorm else norm(x)
    (weight * y.square()).sum().backward()
    buffers = [b.clone().float() for b in norm.buffers()]
    return [y.detach(), x.grad, norm.weight.grad, norm.bias.grad, *buffers]


def batch(layer: type) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = 3.0 * torch.randn(SHAPES[layer], generator=generator) + 5.0
    return x, torch.rand(SHAPES[layer], generator=generator)


def on_rank(layer: type, ranks: Ranks) -> list[Tensor]:
    x, weight = batch(layer)
    idle = ranks.rank == len(SHARES)
    if idle:
        x, share = torch.full_like(x, math.nan), slice(0, 1)
    else:
        share = SHARES[ranks.rank]
    with idling(idle):
        return [value.numpy() for value in computed(layer, x[share], weight[share])]


@pytest.mark.parametrize("layer", SHAPES)
def test_normalisation_has_the_statistics_of_all_ranks(layer):
    y, dx, d_weight, d_bias, *buffers = computed(layer, *batch(layer))
    one, two, idle = (
        [torch.from_numpy(value) for value in values]
        for values in on_ranks(3, partial(on_rank, layer))
    )
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    close(torch.cat([one[0], two[0]]), y)
    close(torch.cat([one[1], two[1]]), dx)
    close(one[2] + two[2], d_weight)
    close(one[3] + two[3], d_bias)
    for values in (one, two, idle):
        for found, expected in zip(values[4:], buffers, strict=True):
            close(found, expected)


def test_gathered_items_are_those_of_all_ranks_in_order():
    def work(ranks: Ranks) -> tuple[list[float], list[float], int, list[float]]:
        items = torch.arange(2.0 + ranks.rank, requires_grad=True)
        with idling(ranks.rank == 2):
            every = gathered(10.0 * ranks.rank + items)
        (every.items * torch.arange(5.0) * (ranks.rank + 1)).sum().backward()
        return (
            every.items.tolist(),
            every.items[every.own].tolist(),
            every.ranks,
            items.grad.tolist(),
        )

    one, two, idle = on_ranks(3, work)
    assert one[0] == two[0] == idle[0] == [0, 1, 10, 11, 12]
    assert (one[1], two[1], idle[1]) == ([0, 1], [10, 11, 12], [])
    assert one[2] == two[2] == idle[2] == 2
    assert (one[3], two[3]) == ([0, 3], [6, 9, 12])  # of both ranks' sums, not of the idle one's


def test_alone_items_are_left_as_they_are():
    items = torch.ones(3)
    every = gathered(items)
    assert every.items is items
    assert (every.own, every.ranks) == (slice(None), 1)

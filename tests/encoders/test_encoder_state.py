"""States survive packing and unpacking, whatever they are built of."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from asrlib.encoders import flatten_state, stack_states, unflatten_state, unstack_state


@dataclass(frozen=True)
class Inner:
    a_BD: Tensor
    b_B: Tensor


@dataclass(frozen=True)
class Outer:
    head: Inner
    layers: tuple[Inner, ...]
    tail_BXY: Tensor


def make_inner(batch: int) -> Inner:
    return Inner(torch.randn(batch, 3), torch.randn(batch))


def make(batch: int, layers: int) -> Outer:
    items = tuple(make_inner(batch) for _ in range(layers))
    return Outer(make_inner(batch), items, torch.randn(batch, 0, 2))


def equal(left: Outer, right: Outer) -> bool:
    pairs = zip(flatten_state(left), flatten_state(right), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4), layers=st.integers(0, 3))
def test_stacked_states_unstack_to_the_streams_they_were(sizes, layers):
    states = [make(size, layers) for size in sizes]
    alone = [stream for state in states for stream in unstack_state(state)]
    stacked = stack_states(states)
    assert len(alone) == sum(sizes)
    assert all(equal(a, b) for a, b in zip(unstack_state(stacked), alone, strict=True))
    assert equal(stack_states(alone), stacked)


@given(batch=st.integers(1, 3), layers=st.integers(0, 3))
def test_unflatten_inverts_flatten(batch, layers):
    state = make(batch, layers)
    tensors = flatten_state(state)
    assert len(tensors) == 3 + 2 * layers
    assert equal(unflatten_state(make(1, layers), tensors), state)


def test_unflatten_refuses_a_wrong_number_of_tensors():
    tensors = flatten_state(make(1, 1))
    for wrong in (tensors[:-1], [*tensors, tensors[0]]):
        with pytest.raises(ValueError, match="5 tensors"):
            unflatten_state(make(1, 1), wrong)

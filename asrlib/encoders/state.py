"""Streaming states as trees of batch-first tensors, and the four things serving does to them.

A state is a (frozen) dataclass whose fields are tensors, tuples of states, or further such
dataclasses. Every tensor's first axis is the batch: the streams that advance together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

State = TypeVar("State")


def map_state(function: Callable[..., Tensor], *states: Any) -> Any:
    """Apply `function` to corresponding tensors of equally built `states`."""
    first = states[0]
    if isinstance(first, Tensor):
        return function(*states)
    if isinstance(first, tuple):
        return tuple(map_state(function, *items) for items in zip(*states, strict=True))
    fields = [field.name for field in dataclasses.fields(first)]
    values = {
        name: map_state(function, *(getattr(state, name) for state in states)) for name in fields
    }
    return dataclasses.replace(first, **values)


def stack_states(states: Sequence[State]) -> State:
    """Join states along the batch, in order; a single one is returned as it is."""
    if len(states) == 1:  # a stream by itself is spared the copies
        return states[0]
    return map_state(lambda *tensors: torch.cat(tensors), *states)


def unstack_state(state: State) -> list[State]:
    """Split a state into states of one stream each: the inverse of `stack_states`.

    Raises:
        ValueError: the state holds no tensor, so that its number of streams is not known.
    """
    first = _first_tensor(state)
    if first is None:
        raise ValueError("a state without tensors has no number of streams")
    batch_size = first.shape[0]
    if batch_size == 1:
        return [state]
    return [map_state(lambda x, i=i: x[i : i + 1], state) for i in range(batch_size)]


def _first_tensor(state: Any) -> Tensor | None:
    """The first tensor of a state, None of an empty one; in small pieces it is asked for often."""
    if isinstance(state, Tensor):
        return state
    if not isinstance(state, tuple):
        state = tuple(getattr(state, field.name) for field in dataclasses.fields(state))
    return next((x for x in map(_first_tensor, state) if x is not None), None)


def flatten_state(state: Any) -> list[Tensor]:
    """The tensors of a state, depth first, in field order."""
    tensors: list[Tensor] = []

    def collect(x: Tensor) -> Tensor:
        tensors.append(x)
        return x

    map_state(collect, state)
    return tensors


def unflatten_state(like: State, tensors: Sequence[Tensor]) -> State:
    """Build a state shaped as `like` from `tensors`: the inverse of `flatten_state`.

    Raises:
        ValueError: the number of tensors is not that of `like`.
    """
    expected = len(flatten_state(like))
    if len(tensors) != expected:
        raise ValueError(f"a state of {expected} tensors cannot be built from {len(tensors)}")
    remaining = iter(tensors)
    return map_state(lambda _: next(remaining), like)

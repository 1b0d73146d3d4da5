"""Operations on streaming states: map, stack and unstack, flatten and unflatten.

A state is a (frozen) dataclass whose fields are tensors, tuples of states, or further such
dataclasses. The first axis of each tensor is the batch, that is, the streams that are processed
together. Shapes: B streams, C values of a condition.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from asrlib.layers.norm import RunningState

State = TypeVar("State")


@dataclasses.dataclass(frozen=True)
class FrontState:
    """State of what precedes the first layer of every encoder.

    Attributes:
        norm: state of the running normalisation; an empty tuple if there is none.
        right_context: last inputs (B, P, F) of each convolution for right context.
    """

    norm: RunningState | tuple[()]
    right_context: tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class StreamState:
    """State of streams between two steps of an encoder.

    Attributes:
        own: the state that the encoder's layers need.
        condition: condition (B, C) that is added to every frame, zeros where it is not known; an
            empty tuple for an encoder without condition.
        front: the state of what precedes the encoder's layers.
    """

    own: Any
    condition: Tensor | tuple[()]
    front: FrontState


def map_state(function: Callable[..., Tensor], *states: Any) -> Any:
    """Apply `function` to the corresponding tensors of `states`, which have the same structure."""
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
    """Concatenate states along the batch, in order; a single state is returned as it is."""
    if len(states) == 1:  # no copy for a single stream
        return states[0]
    return map_state(lambda *tensors: torch.cat(tensors), *states)


def unstack_state(state: State) -> list[State]:
    """Split a state into states of one stream each; this is the inverse of `stack_states`.

    Raises:
        ValueError: the state holds no tensor, so that its number of streams is unknown.
    """
    first = _first_tensor(state)
    if first is None:
        raise ValueError("a state without tensors has no number of streams")
    batch_size = first.shape[0]
    if batch_size == 1:
        return [state]
    return [map_state(lambda x, i=i: x[i : i + 1], state) for i in range(batch_size)]


def _first_tensor(state: Any) -> Tensor | None:
    """Return the first tensor of a state, or None if it has none.

    This stops at the first tensor, because it is called for every piece of a stream.
    """
    if isinstance(state, Tensor):
        return state
    if not isinstance(state, tuple):
        state = tuple(getattr(state, field.name) for field in dataclasses.fields(state))
    return next((x for x in map(_first_tensor, state) if x is not None), None)


def flatten_state(state: Any) -> list[Tensor]:
    """Return the tensors of a state, depth first, in the order of its fields."""
    tensors: list[Tensor] = []

    def collect(x: Tensor) -> Tensor:
        tensors.append(x)
        return x

    map_state(collect, state)
    return tensors


def unflatten_state(like: State, tensors: Sequence[Tensor]) -> State:
    """Build a state with the structure of `like` from tensors; the inverse of `flatten_state`.

    Raises:
        ValueError: the number of tensors differs from that in `like`.
    """
    expected = len(flatten_state(like))
    if len(tensors) != expected:
        raise ValueError(f"a state of {expected} tensors cannot be built from {len(tensors)}")
    remaining = iter(tensors)
    return map_state(lambda _: next(remaining), like)

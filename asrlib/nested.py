"""Nested plain values and tensors as one JSON text and a list of tensors, and back.

torch 1.13's safe loader takes tensors but no floats, tuples or bytes; JSON takes those, and
Python's JSON gives every float back exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# An encoded value that JSON does not know is a mapping with this single key.
_TAG = "__type__"


def flatten(value: Any) -> tuple[str, list[Tensor]]:
    """JSON text and tensors of nested mappings, lists, tuples, scalars, strings and bytes.

    Raises:
        TypeError: a value of another type.
    """
    tensors: list[Tensor] = []
    return json.dumps(_encode(value, tensors)), tensors


def unflatten(text: str, tensors: list[Tensor]) -> Any:
    """Inverse of `flatten`."""
    return _decode(json.loads(text), tensors)


def _encode(value: Any, tensors: list[Tensor]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        tensors.append(value.detach())
        return {_TAG: "tensor", "index": len(tensors) - 1}
    if isinstance(value, bytes):
        tensors.append(torch.tensor(list(value), dtype=torch.uint8))
        return {_TAG: "bytes", "index": len(tensors) - 1}
    if isinstance(value, Mapping):
        # Pairs, since optimisers number their parameters and JSON has string keys only.
        return {_TAG: "map", "items": [[k, _encode(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {_TAG: "tuple", "items": [_encode(v, tensors) for v in value]}
    if isinstance(value, list):
        return [_encode(v, tensors) for v in value]
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _decode(value: Any, tensors: list[Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    kind = value[_TAG]
    if kind == "tensor":
        return tensors[value["index"]]
    if kind == "bytes":
        return tensors[value["index"]].numpy().tobytes()
    if kind == "tuple":
        return tuple(_decode(v, tensors) for v in value["items"])
    return {k: _decode(v, tensors) for k, v in value["items"]}

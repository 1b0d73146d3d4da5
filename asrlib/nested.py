"""Convert nested plain values and tensors to a JSON text and a list of tensors, and back.

The safe loader of torch 1.13 accepts tensors, but no floats, tuples or bytes. These are stored in
the JSON text, which preserves every float exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# A mapping with this key encodes a value that JSON does not know.
_TAG = "__type__"


def flatten(value: Any) -> tuple[str, list[Tensor]]:
    """Convert nested mappings, lists, tuples, scalars, strings, bytes and tensors.

    Returns:
        The JSON text, and the tensors that it refers to.

    Raises:
        TypeError: a value has another type.
    """
    tensors: list[Tensor] = []
    return json.dumps(_encode(value, tensors)), tensors


def unflatten(text: str, tensors: list[Tensor]) -> Any:
    """Convert the results of `flatten` back to nested values."""
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
        # Stored as pairs: optimisers use numbers as keys, and JSON has string keys only.
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

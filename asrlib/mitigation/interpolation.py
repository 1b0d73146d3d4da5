"""Interpolate between the weights of a model and of a model that was fine-tuned from it.

A model between both often keeps what the start knew and most of what fine-tuning added (arXiv
2109.01903), at no further training, so every other mitigation is compared with this curve.
"""

from __future__ import annotations

from pathlib import Path

import torch

from asrlib.checkpoint_file import load, save
from asrlib.errors import CheckpointError
from asrlib.layers.progress import is_progress
from asrlib.transducer.model_io import KIND


def interpolate(start: Path, end: Path, share: float, out: Path) -> None:
    """Write the model with the weights start + share * (end - start).

    Normalisation statistics are interpolated like weights. The end gives everything else.

    Args:
        start: file of the model at share 0.
        end: file of the model at share 1.
        share: number from 0 to 1.
        out: file to write.

    Raises:
        CheckpointError: a file cannot be read or written, or the models differ in their tokens or
            in the shape of a weight.
    """
    first, last = load(start, KIND), load(end, KIND)
    if first["payload"]["tokenizer"] != last["payload"]["tokenizer"]:
        raise CheckpointError(f"{end}: has other tokens than {start}", "give the model's own start")
    weights = {}
    for name, weight in last["model"].items():
        other = first["model"].get(name)
        if other is None or other.shape != weight.shape:
            raise CheckpointError(
                f"{end}: weight {name} does not fit {start}", "give the model's own start"
            )
        fixed = is_progress(name) or not weight.is_floating_point()
        weights[name] = weight if fixed else torch.lerp(other, weight, share)
    save(out, KIND, {**last, "model": weights, "facts": {**last["facts"], "interpolated": share}})

"""Mixed precision: lower precision in the network, float32 in weights, gradients and losses."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from asrlib.training.config import TrainConfig

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(config: TrainConfig) -> AbstractContextManager[Any]:
    """Return the context of a training step's forward pass; with float32 it changes nothing."""
    if config.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(config.device, dtype=_TYPES[config.precision])


def normalise_in_float32(model: nn.Module, config: TrainConfig) -> None:
    """Let normalisation layers compute in float32, as autocast does on GPUs but not on CPUs."""
    if config.precision == "float32":
        return
    for module in model.modules():
        if isinstance(module, (nn.LayerNorm, _BatchNorm)):
            # torch's type for hooks forbids what its documentation allows: to replace the inputs.
            # pyrefly: ignore[bad-argument-type]
            module.register_forward_pre_hook(_widened)


def _widened(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.float() for x in inputs)


def gradient_scaler(config: TrainConfig) -> Any:
    """Return torch's scaler of losses, which keeps gradients in the range of float16.

    With another precision, it does nothing.
    """
    # torch 2.x has it in torch.amp, and warns of that in torch.cuda.amp.
    kind = getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler
    return kind(enabled=config.precision == "float16")

"""Modules that change over the course of a training, and how they are told where it stands."""

from __future__ import annotations

import abc
from collections.abc import Iterator

from torch import nn


class HasSchedule(abc.ABC):
    """A module with phases in training, such as a depth that grows or noise that fades."""

    @abc.abstractmethod
    def set_run_length(self, steps: int) -> None:
        """Learn the total number of training steps, before the first of them."""

    @abc.abstractmethod
    def set_step(self, step: int) -> None:
        """Learn the number of the training step (from 0), before its forward pass."""


def set_run_length(module: nn.Module, steps: int) -> None:
    """Tell every scheduled module below `module`, itself included, the number of training steps."""
    for scheduled in _scheduled(module):
        scheduled.set_run_length(steps)


def set_step(module: nn.Module, step: int) -> None:
    """Tell every scheduled module below `module`, itself included, the training step."""
    for scheduled in _scheduled(module):
        scheduled.set_step(step)


def _scheduled(module: nn.Module) -> Iterator[HasSchedule]:
    return (m for m in module.modules() if isinstance(m, HasSchedule))

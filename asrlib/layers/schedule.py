"""Modules whose behaviour depends on the training step, and functions that set this step."""

from __future__ import annotations

import abc
from collections.abc import Iterator

from torch import nn


class HasSchedule(abc.ABC):
    """A module with a schedule in training, such as a depth that grows or noise that fades."""

    @abc.abstractmethod
    def set_run_length(self, steps: int) -> None:
        """Set the total number of training steps; this is called before the first step."""

    @abc.abstractmethod
    def set_step(self, step: int) -> None:
        """Set the number of the training step, from 0; this is called before its forward pass."""


def set_run_length(module: nn.Module, steps: int) -> None:
    """Set the total number of training steps in all scheduled modules within `module`."""
    for scheduled in _scheduled(module):
        scheduled.set_run_length(steps)


def set_step(module: nn.Module, step: int) -> None:
    """Set the number of the training step in all scheduled modules within `module`."""
    for scheduled in _scheduled(module):
        scheduled.set_step(step)


def _scheduled(module: nn.Module) -> Iterator[HasSchedule]:
    return (m for m in module.modules() if isinstance(m, HasSchedule))

"""Figures of a training run: a log line per interval, and the same figures for TensorBoard."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from asrlib.training.task import LossSums

logger = logging.getLogger(__name__)


class Sums:
    """Named figures, kept as sums and counts; they are divided only at the end."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, float] = defaultdict(float)

    def add(self, stats: Mapping[str, tuple[float, float]]) -> None:
        for name, (value, count) in stats.items():
            self._sums[name] += value
            self._counts[name] += count

    def means(self) -> dict[str, float]:
        """Return sum / count of each figure whose count is not 0, in the order of first use."""
        return {n: self._sums[n] / count for n, count in self._counts.items() if count}


class Meter:
    """Sums over the training steps of a log interval; they are divided when they are read.

    Wall-clock time runs from one call of `scalars` to the next, without the time in `paused`.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._sums = Sums()
        self._seconds = self._wait = self._loss = self._paused = 0.0
        self._norm, self._steps = 0.0, 0
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Measure the time that training waits for a batch."""
        start = time.perf_counter()
        yield
        self._wait += time.perf_counter() - start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude time that is not training, such as validation and saving."""
        start = time.perf_counter()
        yield
        self._paused += time.perf_counter() - start

    def add(self, loss: float, sums: LossSums, norm: float) -> None:
        """Add a training step: the sum of its losses, its figures and its gradient norm."""
        self._sums.add({"loss": (loss, sums.weight), **sums.stats})
        self._seconds += sums.seconds
        self._loss += sums.loss_seconds() if sums.loss_seconds else 0.0
        self._norm += norm
        self._steps += 1

    def scalars(self) -> dict[str, float]:
        """Return the figures of the interval and start a new interval.

        `throughput` is seconds of signal per second of wall-clock time; `data_wait` and
        `loss_share` are fractions of the wall-clock time.
        """
        wall = max(time.perf_counter() - self._start - self._paused, 1e-9)
        figures = self._sums.means()
        figures["grad_norm"] = self._norm / self._steps if self._steps else math.nan
        figures["throughput"] = self._seconds / wall
        figures["data_wait"] = self._wait / wall
        figures["loss_share"] = self._loss / wall
        self._reset()
        return figures


_PERCENT = frozenset({"data_wait", "loss_share"})


def line(figures: dict[str, float]) -> str:
    """Format named figures as one line of text."""
    parts = [f"{k} {v:.1%}" if k in _PERCENT else f"{k} {v:.4g}" for k, v in figures.items()]
    return ", ".join(parts)


class Board:
    """TensorBoard scalars of a run; scalars that a killed run wrote past `from_step` are hidden.

    Nothing is written if the path is None.
    """

    def __init__(self, path: Path | None, from_step: int) -> None:
        self._writer = None
        if path is not None:
            self._writer = SummaryWriter(str(path), purge_step=from_step + 1)

    def write(self, group: str, figures: dict[str, float], step: int) -> None:
        if self._writer is None:
            return
        try:
            for name, value in figures.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)
        except OSError as e:  # the error comes from the writer's thread, which names no file
            e.filename = e.filename or self._writer.log_dir
            raise

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

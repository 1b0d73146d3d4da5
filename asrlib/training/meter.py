"""Figures of a training run: one log line per interval, and the same to TensorBoard."""

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
    """Named figures as sums and counts, divided last."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, float] = defaultdict(float)

    def add(self, stats: Mapping[str, tuple[float, float]]) -> None:
        for name, (value, count) in stats.items():
            self._sums[name] += value
            self._counts[name] += count

    def means(self) -> dict[str, float]:
        """Sum by count, of those that counted anything; in the order they first came."""
        return {n: self._sums[n] / count for n, count in self._counts.items() if count}


class Meter:
    """Sums over the steps of a log interval; divided only when they are written.

    Wall time runs from one `line` to the next, less what was `paused`.
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
        """Time the wait for a batch."""
        start = time.perf_counter()
        yield
        self._wait += time.perf_counter() - start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out time that is not training: validation, saving."""
        start = time.perf_counter()
        yield
        self._paused += time.perf_counter() - start

    def add(self, loss: float, sums: LossSums, norm: float) -> None:
        """Take in a step: its loss sum, figures and gradient norm."""
        self._sums.add({"loss": (loss, sums.weight), **sums.stats})
        self._seconds += sums.seconds
        self._loss += sums.loss_seconds() if sums.loss_seconds else 0.0
        self._norm += norm
        self._steps += 1

    def scalars(self) -> dict[str, float]:
        """The interval's figures; starts a new interval.

        `throughput` is seconds of signal per second; `data_wait` and `loss_share` are fractions
        of the wall time.
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
    """One line of text of named figures."""
    parts = [f"{k} {v:.1%}" if k in _PERCENT else f"{k} {v:.4g}" for k, v in figures.items()]
    return ", ".join(parts)


class Board:
    """TensorBoard scalars of a run; what a killed run wrote past `from_step` is hidden."""

    def __init__(self, path: Path, from_step: int) -> None:
        self._writer = SummaryWriter(str(path), purge_step=from_step + 1)

    def write(self, group: str, figures: dict[str, float], step: int) -> None:
        try:
            for name, value in figures.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)
        except OSError as e:  # of the writer's own thread, which knows no file
            e.filename = e.filename or self._writer.log_dir
            raise

    def close(self) -> None:
        self._writer.close()

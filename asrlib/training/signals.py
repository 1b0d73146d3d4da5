"""Handle SIGTERM and SIGINT: finish the current training step, save a checkpoint, then exit."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Any


class StopFlag:
    """A context in which SIGTERM and SIGINT only set a flag; a later one acts as usual.

    A scheduler, or a process that started this one, may pass on a signal that this process has had
    already. So further signals within `TOGETHER_S` count as the same.

    Attributes:
        signal: the signal that was received; None if there was none.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    TOGETHER_S = 2.0

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._since = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopFlag:
        for number in self.SIGNALS:
            self._previous[number] = signal.signal(number, self._raise_flag)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _raise_flag(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._since = signal.Signals(number), time.monotonic()
        elif time.monotonic() > self._since + self.TOGETHER_S:
            signal.signal(number, self._previous[number])
            signal.raise_signal(number)

    def guard_children(self) -> None:
        """Prevent loader workers that die of the same signal from interrupting the current step.

        A signal to the entire process group (Ctrl-C, a scheduler) ends the workers too, and
        torch's SIGCHLD handler would then raise an error anywhere in this process. Call this
        method whenever an iterator over batches was made; further calls change nothing.
        """
        handler = signal.getsignal(signal.SIGCHLD)
        if not callable(handler) or signal.SIGCHLD in self._previous:
            return

        def unless_stopping(number: int, frame: FrameType | None) -> None:
            if self.signal is None:
                handler(number, frame)

        self._previous[signal.SIGCHLD] = handler
        signal.signal(signal.SIGCHLD, unless_stopping)

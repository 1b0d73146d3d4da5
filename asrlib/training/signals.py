"""Asked to stop (SIGTERM, SIGINT): finish the step at hand, save, then leave."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class StopFlag:
    """A context in which SIGTERM and SIGINT only raise a flag; a second one acts as before."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
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
        self.signal = signal.Signals(number)
        signal.signal(number, self._previous[number])

    def guard_children(self) -> None:
        """Keep loader workers that die of the same signal from breaking off the step at hand.

        A signal sent to the whole process group (Ctrl-C, a scheduler) ends the workers too, and
        torch's SIGCHLD handler would then raise an error wherever this process happens to be.
        Call it whenever an iterator over batches was made; calling it again changes nothing.
        """
        handler = signal.getsignal(signal.SIGCHLD)
        if not callable(handler) or signal.SIGCHLD in self._previous:
            return

        def unless_stopping(number: int, frame: FrameType | None) -> None:
            if self.signal is None:
                handler(number, frame)

        self._previous[signal.SIGCHLD] = handler
        signal.signal(signal.SIGCHLD, unless_stopping)

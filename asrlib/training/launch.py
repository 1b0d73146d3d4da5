"""Start the ranks of a training as processes of this machine, and end them together."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

import torch.distributed as dist

from asrlib.errors import UserError
from asrlib.training.place import Place
from asrlib.training.signals import StopFlag

_HOST = "127.0.0.1"
_PATIENCE_S = 60.0  # after the failure of a rank, until the others are killed
_STOPPED = frozenset(128 + number for number in StopFlag.SIGNALS)
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl, on Linux


def start_ranks(count: int, command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command once for each rank, and wait for all.

    The ranks find their places as those of torchrun do (`asrlib.training.place.place_of`). SIGTERM
    and SIGINT go on to all of them; they save and end.

    Args:
        count: number of ranks.
        command: the command.
        environ: the environment variables of the ranks, without their places.

    Returns:
        The exit status: 0, or the first one that was not.

    Raises:
        UserError: a rank was killed; the message names it.
    """
    store = dist.TCPStore(_HOST, 0, None, True, wait_for_workers=False)
    places = [Place(rank, count, rank, _HOST, store.port, hosted=True) for rank in range(count)]
    ends_with_parent = _death_signal()
    ranks = [
        # In sessions of their own, so that Ctrl-C reaches them through this process alone.
        subprocess.Popen(
            command,
            env={**environ, **place.variables()},
            start_new_session=True,
            preexec_fn=ends_with_parent,
        )
        for place in places
    ]
    try:
        with _passing_signals(ranks) as passed:
            failed = _first_failure(ranks)
            if failed is not None and not passed and ranks[failed].returncode not in _STOPPED:
                _end(ranks)
            for rank in ranks:
                rank.wait()
    finally:
        for rank in ranks:
            rank.kill()  # does nothing to those that have ended
    if failed is None:
        return 0
    status = ranks[failed].returncode
    if -status in passed:  # before it could save
        return 128 - status
    if status < 0:
        name = signal.Signals(-status).name
        raise UserError(
            f"rank {failed} of {count} was ended by {name}",
            "check the machine's memory if nobody sent the signal; run the same command again to"
            " resume",
        )
    return status


def _first_failure(ranks: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait until all ranks have ended well, or one has not; return its number."""
    while True:
        states = [rank.poll() for rank in ranks]
        for number, state in enumerate(states):
            if state:
                return number
        if all(state == 0 for state in states):
            return None
        time.sleep(0.1)


def _end(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the ranks that are left; they notice by themselves that one is missing."""
    deadline = time.monotonic() + _PATIENCE_S
    for rank in ranks:
        rank.terminate()
    while any(rank.poll() is None for rank in ranks) and time.monotonic() < deadline:
        time.sleep(0.1)
    for rank in ranks:
        rank.kill()


@contextlib.contextmanager
def _passing_signals(ranks: Sequence[subprocess.Popen[bytes]]) -> Iterator[set[int]]:
    """Pass the signals that stop a training on to the ranks; yield those that came."""
    passed: set[int] = set()

    def pass_on(number: int, frame: FrameType | None) -> None:
        passed.add(number)
        for rank in ranks:
            rank.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in StopFlag.SIGNALS}
    try:
        yield passed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _death_signal() -> Callable[[], None] | None:
    """Return what lets a new process receive SIGTERM when this one dies; None where it cannot."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)

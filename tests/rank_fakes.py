"""Several ranks as forked processes of a test."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist

from asrlib.training.place import Place
from asrlib.training.ranks import Ranks, meet

_FORK = multiprocessing.get_context("fork")


class Lost:
    """What a rank returns that was killed."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lost)


def on_ranks(
    size: int,
    work: Callable[[Ranks], Any],
    timeout: float = 60.0,
    absent: Sequence[int] = (),
    heard: Sequence[int] | None = None,
) -> list[Any]:
    """What `work` returns or raises on each rank, or those in `heard`; absent ranks never come."""
    store = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    places = [Place(r, size, r, "127.0.0.1", store.port, hosted=True) for r in range(size)]
    running = []
    for place in places:
        if place.rank not in absent:
            ours, theirs = _FORK.Pipe(duplex=False)
            process = _FORK.Process(target=_work, args=(place, work, timeout, theirs))
            process.start()
            theirs.close()
            running.append((process, ours))
    try:
        return [_result(running[r][1]) for r in heard or range(len(running))]
    finally:
        for process, _ in running:
            process.kill()
            process.join()


def _work(place: Place, work: Callable[[Ranks], Any], timeout: float, pipe: Any) -> None:
    logging.disable(logging.CRITICAL)
    os.setpgid(0, 0)
    try:
        with meet(place, "cpu", timeout) as ranks:
            result = work(ranks)
    except BaseException as e:
        result = e
    pipe.send(result)
    pipe.close()
    os._exit(0)


def _result(pipe: Any) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        return Lost()


def freeze() -> None:
    """Stop this process without ending it, as a machine does that no longer answers."""
    os.kill(os.getpid(), signal.SIGSTOP)

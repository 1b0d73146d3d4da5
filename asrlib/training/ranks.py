"""The processes (ranks) of one training: how they meet, exchange values, and notice a missing one.

All ranks make the same steps. Each has a share of the items of every batch, and the sums over all
ranks decide every update, so that the ranks' models stay equal. Rank 0 alone writes files.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

from asrlib.data.share import RankShare
from asrlib.errors import ConfigError, UserError
from asrlib.training.place import Place

T = TypeVar("T")

logger = logging.getLogger(__name__)

# How torch names the failure of a connection between ranks: gloo's and NCCL's errors are
# RuntimeErrors, whose subclasses differ between versions of torch.
_LOST = re.compile(r"gloo|NCCL|socket|Connection (closed|reset)|Broken pipe|timed? ?out", re.I)
_INQUEST_S = 20.0  # longest wait for the ranks that are alive, after one was lost


@dataclass(frozen=True)
class Ranks:
    """This process as one of the ranks of a training.

    Attributes:
        rank, size: its number, from 0, and the number of all.
        control: group in which values on the CPU are exchanged; None for torch's default group.
    """

    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this rank writes the files of the training."""
        return self.rank == 0

    @property
    def share(self) -> RankShare:
        """The share of each batch that this rank takes."""
        return RankShare(self.rank, self.size)

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, in their order; they must not hold tensors of a GPU."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def any(self, value: bool) -> bool:
        """Return whether a value is true on any rank."""
        if self.size == 1:
            return value
        found = torch.tensor([int(value)])
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.control)
        return bool(found)

    def from_first(self, value: T) -> T:
        """Return rank 0's value, which may hold tensors of the CPU."""
        if self.size == 1:
            return value
        box = [value if self.is_first else None]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return cast(T, box[0])

    def sum_gradients(self, parameters: Iterable[nn.Parameter], idle: bool) -> None:
        """Replace each gradient by its sum over the ranks; none remains where no rank has one.

        Args:
            parameters: the same on all ranks.
            idle: whether the gradients of this rank do not count.
        """
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        grads = [None if idle else p.grad for p in trained]
        pieces = [
            (torch.zeros_like(p) if g is None else g).reshape(-1)
            for p, g in zip(trained, grads, strict=True)
        ]
        known = torch.tensor([float(g is not None) for g in grads], device=trained[0].device)
        total = torch.cat([*pieces, known])
        dist.all_reduce(total)
        *sums, known = total.split([*(p.numel() for p in trained), len(trained)])
        for parameter, piece, count in zip(trained, sums, known.tolist(), strict=True):
            parameter.grad = piece.view_as(parameter) if count else None


ALONE = Ranks()


@contextlib.contextmanager
def meet(place: Place, device: str, timeout: float) -> Iterator[Ranks]:
    """Connect this process with the other ranks for the duration of the context.

    Args:
        place: which of the ranks this is, and where they meet.
        device: `cpu` (gloo) or `cuda` (NCCL), each rank with a GPU of its own.
        timeout: seconds to wait for the other ranks, here and in the training.

    Raises:
        UserError: a rank is missing; the message names it.
        ConfigError: the ranks cannot meet at this address.
    """
    if place.size == 1:
        yield ALONE
        return
    if device == "cuda":
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
    logging.getLogger("torch.distributed").setLevel(logging.WARNING)
    wait = timedelta(seconds=timeout)
    store = _store(place, wait)
    _roll_call(store, place, timeout)
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        store=dist.PrefixStore(f"group/{place.attempt}", store),
        rank=place.rank,
        world_size=place.size,
        timeout=wait,
    )
    control = dist.new_group(backend="gloo", timeout=wait) if device == "cuda" else None
    logger.info("%d ranks train together", place.size)
    try:
        yield Ranks(place.rank, place.size, control)
    except RuntimeError as e:
        if _LOST.search(str(e)):
            # The others then notice too that the training has ended.
            dist.destroy_process_group()
            _name_missing(store, place, timeout, e)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _store(place: Place, wait: timedelta) -> dist.Store:
    """Return the store in which the ranks find each other; rank 0 holds it, or its launcher."""
    host = place.rank == 0 and not place.hosted
    try:
        return dist.TCPStore(
            place.address, place.port, None, host, timeout=wait, wait_for_workers=False
        )
    except (RuntimeError, ValueError) as e:
        where = f"{place.address}:{place.port}"
        if host:
            raise ConfigError(
                f"rank 0 cannot open {where}: {_line(e)}", "set MASTER_PORT to a free port"
            ) from e
        raise UserError(
            f"rank 0 is missing: rank {place.rank} found nobody at {where} within"
            f" {wait.total_seconds():g} s: {_line(e)}",
            "see the output of rank 0; if it is alive, set MASTER_ADDR to the name of its machine",
        ) from e


def _roll_call(store: dist.Store, place: Place, timeout: float) -> None:
    """Wait until every rank has come.

    Raises:
        UserError: names the ranks that have not.
    """
    missing = _missing(store, place, "here", timeout)
    if missing:
        raise UserError(
            f"{_named(missing)} missing: the training waits for {place.size} ranks, and"
            f" {place.size - len(missing)} came within {timeout:g} s",
            "start all ranks with the same command; see the output of those that are missing",
        )


def _name_missing(store: dist.Store, place: Place, timeout: float, error: RuntimeError) -> None:
    """Find out which ranks do not answer, after a connection between ranks has failed.

    Raises:
        UserError: names the missing ranks; of two ranks that cannot hear each other, both answer.
    """
    try:
        missing = _missing(store, place, "alive", min(timeout, _INQUEST_S))
    except RuntimeError:  # nobody holds the store any more
        missing = [0]
    if missing:
        raise UserError(
            f"{_named(missing)} missing: no answer, in a training by {place.size} ranks that wait"
            f" {timeout:g} s for each other: {_line(error)}",
            "see its output; run the same command again to resume, with any number of ranks",
        ) from error


def _missing(store: dist.Store, place: Place, question: str, timeout: float) -> list[int]:
    """Answer a question in the store, and return the ranks that do not within `timeout` seconds."""
    keys = [f"{question}/{place.attempt}/{rank}" for rank in range(place.size)]
    store.set(keys[place.rank], "yes")
    if _has(store, keys, timeout):
        return []
    missing = [rank for rank, key in enumerate(keys) if not _has(store, [key], 0.2)]
    return [0] if place.rank in missing else missing  # then nobody holds the store any more


def _has(store: dist.Store, keys: list[str], timeout: float) -> bool:
    try:
        store.wait(keys, timedelta(seconds=timeout))
    except RuntimeError:
        return False
    return True


def _named(ranks: list[int]) -> str:
    numbers = ", ".join(map(str, ranks))
    return f"rank {numbers} is" if len(ranks) == 1 else f"ranks {numbers} are"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

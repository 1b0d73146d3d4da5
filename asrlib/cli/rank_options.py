"""Options of the commands that train with several processes (ranks)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from asrlib.errors import ConfigError

if TYPE_CHECKING:
    from asrlib.training.place import Place
    from asrlib.training.ranks import Ranks


def rank_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --ranks and --rank-timeout."""
    number = click.option(
        "--ranks",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Number of processes that train together, each on a share of every batch. They start"
        " on this machine; torchrun or srun starts them on several.",
    )
    timeout = click.option(
        "--rank-timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=600.0,
        show_default=True,
        help="Seconds that the ranks wait for a missing one.",
    )
    return number(timeout(function))


def own_place(ranks: int) -> Place | None:
    """Return which rank this process is; None if it was not started as one of several.

    Raises:
        ConfigError: --ranks contradicts the launcher.
    """
    from asrlib.training.place import place_of

    place = place_of(os.environ)
    if place is not None and ranks not in (1, place.size):
        raise ConfigError(
            f"--ranks {ranks}, but the launcher has started {place.size} ranks",
            "leave out --ranks: torchrun or srun says how many there are",
        )
    return place


def start(ranks: int) -> int:
    """Start the running command again as each of the ranks, and return their exit status."""
    from asrlib.training.launch import start_ranks

    return start_ranks(ranks, [sys.executable, *sys.orig_argv[1:]], os.environ)


@contextlib.contextmanager
def joined(place: Place | None, device: str, timeout: float) -> Iterator[Ranks]:
    """Connect with the other ranks; without a place, there are none."""
    from asrlib.training.ranks import ALONE, meet

    if place is None:
        yield ALONE
        return
    with meet(place, device, timeout) as ranks:
        yield ranks

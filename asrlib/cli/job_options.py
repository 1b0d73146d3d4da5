"""Options of commands that share their work out to jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import click

from asrlib.errors import ConfigError
from asrlib.jobs import ENGINES


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --nj, --engine and --engine-option: `nj`, `engine` and `options`, for `parse_options`."""
    for option in (
        click.option(
            "--engine-option",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            help="For Slurm, as submitit names it: slurm_partition=..., mem_gb=4. retries=N runs a"
            " failed job again, alone, up to N times. May be repeated.",
        ),
        click.option(
            "--engine",
            default="local",
            show_default=True,
            type=click.Choice(ENGINES),
            help="Where the jobs run.",
        ),
        click.option(
            "--nj", default=2, show_default=True, type=click.IntRange(1), help="Jobs at a time."
        ),
    ):
        function = option(function)
    return function


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Values of --engine-option by key.

    Raises:
        ConfigError: one is not of the form KEY=VALUE.
    """
    parsed: dict[str, Any] = {}
    for option in options:
        key, sep, value = option.partition("=")
        if not sep:
            raise ConfigError(f"--engine-option {option}: not KEY=VALUE", "write mem_gb=4")
        parsed[key] = _number(value)
    return parsed


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value

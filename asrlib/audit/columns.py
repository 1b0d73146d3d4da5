"""Which columns of a speaker table become groups, and how numbers become bands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from asrlib.cohorts.table import SpeakerTable
from asrlib.errors import ConfigError

PLACES = ("zip", "latitude", "longitude")  # never groups: they would tell where a speaker lives
_IGNORED = ("set", "corpus", "utterances", "seconds", "words")
_MANY = 8  # a column of more different numbers is divided into bands
_NAMES = 0.5  # a text column with more values than this share of the speakers names them


def parse_bands(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Parse `age=10,16,30`: ascending edges of the bands of a column.

    Raises:
        ConfigError: it is not of this form, or the edges do not ascend.
    """
    bands = {}
    for text in texts:
        column, _, edges = text.partition("=")
        numbers = re.split(r"[,\s]+", edges.strip())
        try:
            values = tuple(float(x) for x in numbers)
        except ValueError:
            values = ()
        finite = bool(values) and bool(np.isfinite(values).all())
        if not column.strip() or not finite or list(values) != sorted(set(values)):
            raise ConfigError(
                f"--bands {text}: not a column and ascending edges", "write --bands age=10,16,30"
            )
        bands[column.strip()] = values
    return bands


def choose_columns(
    table: SpeakerTable, asked: Sequence[str], bands: Mapping[str, tuple[float, ...]]
) -> tuple[tuple[str, ...], dict[str, tuple[float, ...]], list[str]]:
    """Choose columns and the bands of those with numbers, without a look at any error.

    Args:
        asked: the columns to use; empty: all but places, and but those that name each speaker.
        bands: edges that the user gave.

    Returns:
        The columns, their bands, and sentences about what was done.

    Raises:
        ConfigError: a column does not exist, or is a place.
    """
    for column in [*asked, *bands]:
        if column not in table.columns or column in PLACES:
            usable = ", ".join(c for c in table.columns if c not in PLACES) or "none"
            raise ConfigError(
                f"column {column}: cannot be used as a group of speakers",
                f"choose among those of the table of speakers: {usable}",
            )
    columns, notes = [], []
    edges: dict[str, tuple[float, ...]] = {}
    for column in asked or [c for c in table.columns if c not in (*PLACES, *_IGNORED)]:
        values = [v for v in table.column(column) if v]
        numbers = table.numbers(column)
        known = numbers[np.isfinite(numbers)]
        if not values:
            notes.append(f"Column {column} is empty.")
            continue
        if column in bands or (len(known) > len(values) / 2 and len(set(known)) > _MANY):
            edges[column] = bands.get(column) or quartiles(known)
            text = ", ".join(f"{x:g}" for x in edges[column])
            whose = "given" if column in bands else "quartiles of the speakers"
            notes.append(f"Numbers of column {column} are divided at {text} ({whose}).")
            if len(known) < len(values):
                notes.append(
                    f"{len(values) - len(known)} speakers have no number in column {column}: "
                    "unknown there."
                )
        elif not asked and len(set(values)) > max(2, _NAMES * len(values)):
            notes.append(
                f"Column {column} has {len(set(values))} values of {len(values)} speakers, so it "
                f"names speakers rather than groups: left out; --group {column} takes it."
            )
            continue
        columns.append(column)
    return tuple(columns), edges, notes


def quartiles(numbers: np.ndarray) -> tuple[float, ...]:
    """Return the different quartiles at three digits, so that bands have readable names."""
    cuts = np.quantile(numbers, [0.25, 0.5, 0.75])
    return tuple(sorted({float(f"{x:.3g}") for x in cuts}))

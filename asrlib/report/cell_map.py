"""Error rates of cells on a map: the picture, what it shows, and the worst cells."""

from __future__ import annotations

import html
import math

import numpy as np

from asrlib.cohorts.cells import MapCell, MapCells
from asrlib.cohorts.places import MIN_SHOWN
from asrlib.report.document import Block, Figure, Table, Text
from asrlib.report.format import number, place
from asrlib.report.us_map import HEIGHT, Dot, us_map

_SHADES = ("#9cc9d6", "#5aa7be", "#e0b45c", "#dd7d3f", "#b53a45")  # from few errors to many
_ROWS = 8  # worst cells in the table


def cell_blocks(found: MapCells, unit: str = "speaker") -> tuple[Block, ...]:
    """What is shown and hidden; the map and the worst cells, if any cell may be shown.

    Args:
        unit: what the sample is, as of `Audit`.
    """
    cells = sorted(found.cells, key=lambda c: (-c.shrunken, c.latitude, c.longitude))
    text = (
        f"Cells of two degrees, with the {unit}s of both halves: {len(cells)} cells are shown. "
        f"Rates are shrunken towards that of all {unit}s, the more the less the {unit}s of the "
        f"cell say, so that a cell of few {unit}s stands out only if it differs a lot."
    )
    if found.hidden_cells:
        text += (
            f" {found.hidden_cells} cells with fewer than {MIN_SHOWN} {unit}s "
            f"({found.hidden_speakers} {unit}s in all) are hidden."
        )
    if found.unplaced_speakers:
        text += f" {found.unplaced_speakers} {unit}s have no known place."
    if not cells:
        return (Text(text),)
    if _is_flat(cells):
        text += f" The cells differ no more than by chance: all become {_percent(cells[0])}."
        return Text(text), _figure(cells, unit)
    return Text(text), _figure(cells, unit), _worst(cells, unit)


def _is_flat(cells: list[MapCell]) -> bool:
    """Whether all shrunken rates are the same as they are shown; the cells come sorted by them."""
    return _percent(cells[0]) == _percent(cells[-1])


def _percent(cell: MapCell) -> str:
    return f"{100 * cell.shrunken:.1f} %"


def _figure(cells: list[MapCell], unit: str) -> Figure:
    lowest, highest = cells[-1].shrunken, cells[0].shrunken
    ends = np.linspace(100 * lowest, 100 * highest, len(_SHADES) + 1)
    dots = []
    for cell in sorted(cells, key=lambda c: -c.speakers):
        shade = 0 if _is_flat(cells) else int(np.searchsorted(ends[1:-1], 100 * cell.shrunken))
        label = (
            f"{place(cell.latitude, cell.longitude)}: {_percent(cell)} shrunken, "
            f"{100 * cell.errors / cell.words:.1f} % observed, {_people(cell, unit)}"
        )
        radius = 3.0 + 2.2 * math.sqrt(cell.speakers)
        dots.append(Dot(cell.latitude, cell.longitude, radius, _SHADES[shade], label))
    legend = "" if _is_flat(cells) else _legend(ends)
    svg = us_map(dots, "map").removesuffix("</svg>") + legend + "</svg>"
    worst, best = cells[0], cells[-1]
    caption = "WER by place, shrunken; larger circles are more " + f"{unit}s. "
    if _is_flat(cells):
        caption += f"All {len(cells)} cells have {_percent(worst)}."
    else:
        caption += (
            f"Highest: {_percent(worst)} around {place(worst.latitude, worst.longitude)} "
            f"({_people(worst, unit)}); lowest: {_percent(best)} around "
            f"{place(best.latitude, best.longitude)} ({_people(best, unit)})."
        )
    caption += " Places outside the 50 states are not drawn."
    return Figure(svg, caption, "Map of error rates")


def _people(cell: MapCell, unit: str) -> str:
    return f"{cell.speakers} {unit}{'s' * (cell.speakers != 1)}"


def _legend(ends: np.ndarray) -> str:
    """Colours and their rates, at the lower right, where the map has sea."""
    parts = ['<g font-family="sans-serif" font-size="15" fill="var(--ink)">']
    top = HEIGHT - 22 * len(_SHADES) - 30
    box = f'x="858" y="{top - 26}" width="115" height="{22 * len(_SHADES) + 32}" rx="6"'
    parts.append(f'<rect {box} fill="var(--paper)" fill-opacity="0.85"/>')
    parts.append(f'<text x="868" y="{top - 6}">WER, %</text>')
    for i, shade in enumerate(_SHADES):
        y = top + 22 * i
        parts.append(f'<rect x="868" y="{y}" width="16" height="16" fill="{shade}"/>')
        text = html.escape(f"{ends[i]:.1f} – {ends[i + 1]:.1f}")
        parts.append(f'<text x="890" y="{y + 13}">{text}</text>')
    return "".join(parts) + "</g>"


def _worst(cells: list[MapCell], unit: str) -> Block:
    header = ("cell around", f"{unit}s", "words", "WER %", "shrunken WER %")
    rows = tuple(
        (
            place(c.latitude, c.longitude),
            str(c.speakers),
            f"{c.words:,.0f}",
            number(c.errors / c.words, 2, 100),
            number(c.shrunken, 2, 100),
        )
        for c in cells[:_ROWS]
    )
    return Table(header, rows)

"""Draw the README's picture of word error rates from its table, and write the text beside it.

Usage: . ./path.sh && python tools/readme_pictures.py
Run it after a change of the table. A test compares the table with committed results, and the
picture with the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from asrlib.report.plots import STYLE, svg_text
from asrlib.report.style import COLOURS

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURE = "docs/word_error_rates.svg"
_SEARCH = "greedy"
_NOTES = {"mini": "synthetic"}


@dataclass(frozen=True)
class Row:
    """A row of the table of results.

    Attributes:
        label: recipe and test set.
        wer: in per cent; as the table prints it.
        each: rates of trainings with other seeds, of which `wer` is the mean.
        interval: over speakers; None where `each` is given.
    """

    label: str
    model: str
    search: str
    wer: str
    each: tuple[float, ...]
    interval: tuple[float, float] | None


def table_rows(text: str) -> list[Row]:
    """The rows of the README's table of results."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found = (
            re.match(r"(\d+\.\d\d)(?: \((.+)\)| \[(.+)\])?", cells[3]) if len(cells) == 5 else None
        )
        if not line.startswith("|") or not found:
            continue
        each = tuple(float(x) for x in (found[2] or "").split(", ") if x)
        ends = [float(x) for x in (found[3] or "").split(", ") if x]
        interval = (ends[0], ends[1]) if ends else None
        rows.append(Row(cells[0], cells[1], cells[2], found[1], each, interval))
    return rows


def draw(rows: list[Row]) -> str:
    """The picture as SVG text: a line for each model of each test set."""
    labels = list(dict.fromkeys(row.label for row in rows))
    models = list(dict.fromkeys(row.model for row in rows))
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "readme"}):
        canvas = Figure(figsize=(8.6, 0.7 + 0.62 * len(labels)), layout="constrained")
        canvas.patch.set_facecolor("white")
        axes = canvas.subplots()
        for row in rows:
            colour = COLOURS[models.index(row.model)]
            at = labels.index(row.label) + 0.36 * (models.index(row.model) - 0.5)
            wer = float(row.wer)
            if row.interval:
                axes.plot(row.interval, [at, at], color=colour, lw=2.5)
                axes.plot([wer], [at], "o", color=colour, ms=7)
            else:
                axes.plot(row.each, [at] * len(row.each), "o", mfc="none", color=colour, ms=6)
                axes.plot([wer], [at], "|", color=colour, ms=13, mew=2.5)
            right = max((wer, *row.each, *(row.interval or ())))
            axes.annotate(
                f"{row.model} {row.wer}",
                (right, at),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                color=colour,
            )
        axes.set_yticks(range(len(labels)), [_named(label) for label in labels])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"word error rate, per cent, {_SEARCH} search, streaming")
        return svg_text(canvas)


def _named(label: str) -> str:
    recipe = label.split(",")[0]
    return f"{label} ({_NOTES[recipe]})" if recipe in _NOTES else label


def described(rows: list[Row]) -> str:
    """The text for readers who do not see the picture."""
    models = list(dict.fromkeys(row.model for row in rows))
    sets = []
    for label in dict.fromkeys(row.label for row in rows):
        rates = [row.wer for row in rows if row.label == label]
        sets.append(f"{label} {' and '.join(rates)} %")
    return f"Word error rates of {' and '.join(models)}, {_SEARCH} search: {'; '.join(sets)}"


def main() -> None:
    """Write the picture and the text beside it."""
    text = README.read_text(encoding="utf-8")
    rows = [row for row in table_rows(text) if row.search == _SEARCH]
    (ROOT / PICTURE).write_text(draw(rows), encoding="utf-8")
    picture = f"![{described(rows)}]({PICTURE})"
    pattern = rf"!\[[^\]]*\]\({re.escape(PICTURE)}\)"
    README.write_text(re.sub(pattern, lambda _: picture, text), encoding="utf-8")


if __name__ == "__main__":
    main()

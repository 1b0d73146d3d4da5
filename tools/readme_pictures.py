"""Draw the README's pictures, and write the text beside them.

Usage: . ./path.sh && python tools/readme_pictures.py
Word error rates are drawn from the README's table, mitigations from results that are published.
Run it after a change of either. A test compares the table with committed results, and the pictures
with what they show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from asrlib.report.fairness.published import PublishedFairness, fairness_file
from asrlib.report.fairness_plots import Change, before_after
from asrlib.report.plots import STYLE, svg_text
from asrlib.report.style import COLOURS

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURE = "docs/word_error_rates.svg"
MITIGATIONS = "docs/mitigations.svg"
MITIGATED = "Mitigations for the bottom cohort (automatic cohorts)"  # the table that is drawn
_PUBLISHED = fairness_file(ROOT / "egs" / "mini", "lstm")
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


def draw_mitigations(found: PublishedFairness) -> tuple[str, str]:
    """The picture of the published mitigations as SVG text, and its description."""
    title, rows = MITIGATED, found.mitigations[MITIGATED]
    start, *others = rows
    changes = [
        Change(row.label, row.rest.percent, row.bottom.percent, row.kind == "control")
        for row in others
    ]
    ends = (start.rest.percent, start.bottom.percent)
    said = "; ".join(f"{c.label} {c.bottom:.1f} and {c.rest:.1f} %" for c in changes)
    text = f"WER of the bottom cohort and of all others: start {ends[1]:.1f} and {ends[0]:.1f} %; "
    svg = before_after(ends, changes, found.curves[title])
    return _on_white(svg), text + said


def _on_white(svg: str) -> str:
    """A page of a dark theme would hide the drawing's dark letters."""
    return re.sub(
        r"(<svg[^>]*>)", r'\1<rect width="100%" height="100%" fill="#fff"/>', svg, count=1
    )


def pictures(text: str) -> dict[str, tuple[str, str]]:
    """SVG text and description of each picture by its path, given the README's text."""
    rows = [row for row in table_rows(text) if row.search == _SEARCH]
    found = PublishedFairness.from_file(_PUBLISHED, "publish egs/mini")
    return {PICTURE: (_on_white(draw(rows)), described(rows)), MITIGATIONS: draw_mitigations(found)}


def main() -> None:
    """Write the pictures and the texts beside them."""
    text = README.read_text(encoding="utf-8")
    for path, (svg, said) in pictures(text).items():
        (ROOT / path).write_text(svg, encoding="utf-8")
        pattern = rf"!\[[^\]]*\]\({re.escape(path)}\)"
        text = re.sub(pattern, lambda _, new=f"![{said}]({path})": new, text)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

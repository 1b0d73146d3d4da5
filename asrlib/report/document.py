"""One document, two renderings: RESULTS.md and a self-contained HTML page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

CSS = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6b7b; --line: #dde3e9;
  --accent: #1f6f8b; --wash: #f5f8fa; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --soft: #a3b1be; --line: #37434f;
  --accent: #6db9d3; --wash: #202a33; --paper: #161d24; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink);
  background: var(--paper);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
header { border-bottom: 3px solid var(--accent); margin-bottom: 1.5rem; }
h1 { font-size: 1.9rem; margin: 0 0 .6rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; color: var(--accent); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { max-width: 52rem; margin: .5rem 0; }
figure { margin: 1.2rem 0; }
figure svg { max-width: 100%; height: auto; }
figure svg.drawing { background: #fff; border-radius: 6px; }
figcaption, .caption { color: var(--soft); font-size: .9rem; max-width: 52rem; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; vertical-align: bottom; }
th.text, td.text { text-align: left; }
td.wide { white-space: normal; min-width: 24rem; }
tbody tr:hover { background: var(--wash); }
tr.strong td { font-weight: 650; background: var(--wash); }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 6px;
  padding: .8rem 1rem; overflow-x: auto; font-size: .87rem; line-height: 1.5; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); color: var(--soft); }
@media (max-width: 40rem) { body { padding: 1rem .8rem 3rem; } h1 { font-size: 1.5rem; }
  p, pre, figcaption { overflow-wrap: anywhere; } td.wide { min-width: 14rem; } }
@media print { :root { --ink: #000; --paper: #fff; --wash: #f5f8fa; --line: #ccc; }
  body { padding: 0; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines shown as they are: commands, or people's notes on the page."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Verbatim:
    """Markdown that RESULTS.md takes as it is; the page shows its source."""

    text: str


@dataclass(frozen=True)
class Figure:
    """A drawing; it stands on the page only.

    Attributes:
        svg: an <svg> element.
        caption: what is to be seen; says it to those who cannot see it, too.
    """

    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: titles of the columns.
        rows: cells, as text.
        text_columns: how many columns, from the left, hold text; the others hold figures.
        strong: indices of the rows that stand out.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    strong: frozenset[int] = frozenset()


Block = Text | Code | Verbatim | Figure | Table


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]
    level: int = 2


@dataclass(frozen=True)
class Document:
    """A title, sections, and a last line that says where it all comes from."""

    title: str
    sections: tuple[Section, ...]
    footer: str


def to_markdown(document: Document) -> str:
    """Markdown without the figures."""
    parts = [f"# {document.title}", document.footer]
    for section in document.sections:
        blocks = [_markdown(b) for b in section.blocks if not isinstance(b, Figure)]
        if blocks:
            parts += [f"{'#' * section.level} {section.title}", *blocks]
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Verbatim):
        return block.text.strip("\n")
    if isinstance(block, Code):
        return f"```{block.language}\n{block.text}\n```"
    assert isinstance(block, Table)
    rule = [":--" if i < block.text_columns else "--:" for i in range(len(block.header))]
    lines = [_row(block.header), "|" + "|".join(rule) + "|"]
    for i, row in enumerate(block.rows):
        lines.append(_row([f"**{c}**" if c else c for c in row] if i in block.strong else row))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def to_html(document: Document) -> str:
    """One HTML file that needs no other."""
    title = html.escape(document.title)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{CSS}</style></head><body>",
        f"<header><h1>{title}</h1></header><main>",
    ]
    for section in document.sections:
        parts.append(f"<h{section.level}>{html.escape(section.title)}</h{section.level}>")
        parts.extend(_html(block) for block in section.blocks)
    parts.append(f"</main><footer><p>{html.escape(document.footer)}</p></footer></body></html>")
    return "\n".join(parts) + "\n"


def _html(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Code | Verbatim):
        return f"<pre>{html.escape(block.text.strip())}</pre>"
    if isinstance(block, Figure):
        return f"<figure>{block.svg}<figcaption>{html.escape(block.caption)}</figcaption></figure>"
    head = _html_row(block.header, "th", block.text_columns)
    body = []
    for i, row in enumerate(block.rows):
        mark = ' class="strong"' if i in block.strong else ""
        body.append(f"<tr{mark}>{_html_row(row, 'td', block.text_columns)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _html_row(cells: Sequence[str], tag: str, text_columns: int) -> str:
    out = []
    for i, cell in enumerate(cells):
        kind = ("text wide" if len(cell) > 60 else "text") if i < text_columns else ""
        mark = f' class="{kind}"' if kind else ""
        out.append(f"<{tag}{mark}>{html.escape(cell)}</{tag}>")
    return "".join(out)

"""One document, two renderings: RESULTS.md and a self-contained HTML page."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from asrlib.report.style import CSS, VARIABLES

_CONTENTS = 4  # main sections from which on a page has a table of contents
_COLOUR = re.compile("|".join(VARIABLES))


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines shown as they are: commands, or people's notes on the page.

    Attributes:
        summary: what they are; then the page shows them when a reader asks for them.
    """

    text: str
    language: str = ""
    summary: str = ""


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
        title: what it is, in a few words; empty: the title of its section.
    """

    svg: str
    caption: str
    title: str = ""


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
    """A title, sections, and a last line that says where it all comes from.

    Attributes:
        lead: the one sentence for readers of one sentence; empty if there is none.
    """

    title: str
    sections: tuple[Section, ...]
    footer: str
    lead: str = ""


def to_markdown(document: Document) -> str:
    """Markdown without the figures."""
    parts = [f"# {document.title}", document.lead, document.footer]
    parts = [part for part in parts if part]
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
        head = f"{block.summary}:\n\n" if block.summary else ""
        return f"{head}```{block.language}\n{block.text}\n```"
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
    lead = f'<p class="lead">{html.escape(document.lead)}</p>' if document.lead else ""
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{CSS}</style></head><body>",
        f"<header><h1>{title}</h1>{lead}</header>{_contents(document)}<main>",
    ]
    for number, section in enumerate(document.sections, 1):
        level = section.level
        parts.append(f'<h{level} id="s{number}">{html.escape(section.title)}</h{level}>')
        for place, block in enumerate(section.blocks, 1):
            if isinstance(block, Figure):
                parts.append(_figure(block, f"s{number}f{place}", section.title))
            else:
                parts.append(_html(block))
    parts.append(f"</main><footer><p>{html.escape(document.footer)}</p></footer></body></html>")
    return "\n".join(parts) + "\n"


def _contents(document: Document) -> str:
    """Links to the main sections; nothing on a short page."""
    main = [(n, s.title) for n, s in enumerate(document.sections, 1) if s.level == 2]
    if len(main) < _CONTENTS:
        return ""
    items = (f'<li><a href="#s{n}">{html.escape(title)}</a></li>' for n, title in main)
    return f'<nav aria-label="Contents"><ol>{"".join(items)}</ol></nav>'


def _figure(figure: Figure, name: str, section: str) -> str:
    """A drawing that says what it is to those who cannot see it, in the page's colours."""
    root, inside = re.fullmatch(r"\s*<svg\b([^>]*)>(.*)", figure.svg, re.DOTALL).groups()  # pyrefly: ignore
    root = re.sub(r' (role|aria-label|aria-labelledby)="[^"]*"', "", root)
    inside = re.sub(r"^\s*<title>.*?</title>", "", inside, flags=re.DOTALL)
    title, caption = html.escape(figure.title or section), html.escape(figure.caption)
    words = f'<title id="{name}t">{title}</title><desc id="{name}d">{caption}</desc>'
    svg = f'<svg role="img" aria-labelledby="{name}t {name}d"{root}>{words}{inside}'
    svg = _COLOUR.sub(lambda found: f"var({VARIABLES[found[0]]})", svg)
    return f'<figure><div class="scroll">{svg}</div><figcaption>{caption}</figcaption></figure>'


def _html(block: Text | Code | Verbatim | Table) -> str:
    if isinstance(block, Text):
        return _paragraphs(block.text)
    if isinstance(block, Code | Verbatim):
        text = f"<pre>{html.escape(block.text.strip())}</pre>"
        if isinstance(block, Code) and block.summary:
            summary = html.escape(block.summary)
            text = f"<details><summary>{summary}</summary>{text}</details>"
        return text
    head = _html_row(block.header, "th", block.text_columns)
    body = []
    for i, row in enumerate(block.rows):
        mark = ' class="strong"' if i in block.strong else ""
        body.append(f"<tr{mark}>{_html_row(row, 'td', block.text_columns)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _paragraphs(text: str) -> str:
    """Lines that start with a dash are the items of a list, as in Markdown."""
    parts = []
    for is_list, lines in itertools.groupby(text.split("\n"), lambda x: x.startswith("- ")):
        if is_list:
            items = (f"<li>{html.escape(line[2:])}</li>" for line in lines)
            parts.append(f"<ul>{''.join(items)}</ul>")
        else:
            parts.append(f"<p>{html.escape(' '.join(lines))}</p>")
    return "".join(parts)


def _html_row(cells: Sequence[str], tag: str, text_columns: int) -> str:
    out = []
    for i, cell in enumerate(cells):
        kind = ("text wide" if len(cell) > 60 else "text") if i < text_columns else ""
        mark = f' class="{kind}"' if kind else ""
        out.append(f"<{tag}{mark}>{html.escape(cell)}</{tag}>")
    return "".join(out)

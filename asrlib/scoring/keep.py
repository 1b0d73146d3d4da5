"""What an earlier RESULTS.md tells and exp/ no longer does: results outlive their machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from asrlib.scoring.document import Document, Section, Table, Text, Verbatim

REMARK = "Kept from an earlier page: exp/ holds nothing of this any more."
SOME = "Kept from an earlier page: exp/ does not hold all of these systems any more."
EARLIER = " (earlier)"
_NOTES, _COMMANDS = "Notes", "Commands"
_NAMING = ("model", "encoder")  # columns of which the first that a table has names its systems
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


def keep(document: Document, page: str) -> Document:
    """The document with what an earlier page has and it lacks, in front of the notes: sections, and
    under another title those of systems that the section of now lacks, with the commands.

    Rows are not mixed, for they may have been measured otherwise.
    """
    own, earlier = _systems(document), dict(_sections(page))
    gone = {t for t, body in earlier.items() if t in own and _systems_of(body) - own[t]}
    if gone:
        gone.add(_COMMANDS)
    kept: dict[str, Section] = {}
    for title, body in earlier.items():
        if title not in own:
            kept.setdefault(title, Section(title, (Text(_remark(title)), Verbatim(body))))
        elif title in gone:
            kept[title + EARLIER] = Section(title + EARLIER, (Text(SOME), Verbatim(body)))
    notes = [s for s in document.sections if s.title == _NOTES]
    others = [s for s in document.sections if s.title != _NOTES]
    return replace(document, sections=(*others, *kept.values(), *notes))


def _remark(title: str) -> str:
    return SOME if title.endswith(EARLIER) else REMARK


def _systems(document: Document) -> dict[str, set[str]]:
    """Names of the systems in each section of the second level and in those below it."""
    systems: dict[str, set[str]] = {}
    names: set[str] = set()
    for section in document.sections:
        if section.level == 2:
            names = systems.setdefault(section.title, set())
        for table in (b for b in section.blocks if isinstance(b, Table)):
            column = _naming(table.header)
            if column is not None:
                names |= {row[column] for row in table.rows}
    return systems


def _systems_of(body: str) -> set[str]:
    """The same, of a section that is Markdown."""
    names: set[str] = set()
    column, inside = None, False
    for line in body.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif not inside:  # the head of a table
            column, inside = _naming(cells), True
        elif column is not None and column < len(cells) and not set(cells[column]) <= set(":-"):
            names.add(cells[column].strip("*"))
    return names


def _naming(header: Sequence[str]) -> int | None:
    """The column that names a table's systems, if one does."""
    return next((header.index(name) for name in _NAMING if name in header), None)


def _sections(page: str) -> list[tuple[str, str]]:
    """Titles and bodies of the second level, up to the notes, which people wrote."""
    pieces = _HEADING.split(page)[1:]
    found = []
    for title, body in zip(pieces[::2], pieces[1::2], strict=True):
        if title == _NOTES:
            break
        body = body.strip().removeprefix(_remark(title)).strip()
        found.append((title, body))
    return found

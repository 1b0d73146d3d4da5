"""What an earlier RESULTS.md tells and exp/ no longer does: results outlive their machine."""

from __future__ import annotations

import re
from dataclasses import replace

from asrlib.scoring.document import Document, Section, Table, Text, Verbatim

REMARK = "Kept from an earlier page: exp/ holds nothing of this any more."
SOME = "Kept from an earlier page: exp/ does not hold all of these systems any more."
EARLIER = " (earlier)"
_NOTES, _COMMANDS = "Notes", "Commands"
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
    """Names in the columns "model" of each section of the second level and of those below it."""
    systems: dict[str, set[str]] = {}
    names: set[str] = set()
    for section in document.sections:
        if section.level == 2:
            names = systems.setdefault(section.title, set())
        tables = [b for b in section.blocks if isinstance(b, Table) and b.header[0] == "model"]
        names |= {row[0] for table in tables for row in table.rows}
    return systems


def _systems_of(body: str) -> set[str]:
    """The same, of a section that is Markdown."""
    names, inside = set(), False
    for line in body.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == "model":
            inside = True
        elif inside and not set(cells[0]) <= set(":-"):
            names.add(cells[0].strip("*"))
    return names


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

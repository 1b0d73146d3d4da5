"""What an earlier RESULTS.md tells and exp/ no longer does: results outlive their machine."""

from __future__ import annotations

import re
from dataclasses import replace

from asrlib.report.document import Document, Section, Text, Verbatim, to_markdown

REMARK = "Kept from an earlier page: exp/ holds nothing of this any more."
SOME = "Kept from an earlier page: exp/ does not hold all of these systems any more."
EARLIER = " (earlier)"
_NOTES, _COMMANDS = "Notes", "Commands"
_NAMING = ("model", "encoder")  # columns of which the first that a table has names its systems
_TABLE = re.compile(r"(?:^\|.*\n?){2,}", re.MULTILINE)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


def keep(document: Document, page: str) -> Document:
    """The document with what an earlier page has and it lacks, in front of the notes: sections, and
    under another title those of systems that the section of now lacks, with the commands.

    Rows are not mixed, for they may have been measured otherwise.
    """
    own, earlier = dict(_sections(to_markdown(document))), dict(_sections(page))
    gone = {t for t, body in earlier.items() if t in own and _systems(body) - _systems(own[t])}
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


def _systems(body: str) -> set[str]:
    """Names of the systems in the tables of a section that is Markdown."""
    names: set[str] = set()
    for table in _TABLE.findall(body):
        header, _, *rows = (
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
        )
        column = next((header.index(name) for name in _NAMING if name in header), None)
        if column is not None:
            names |= {row[column].strip("*") for row in rows}
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

"""What an earlier RESULTS.md tells and exp/ no longer does: results outlive their machine."""

from __future__ import annotations

import re
from dataclasses import replace

from asrlib.scoring.document import Document, Section, Text, Verbatim

REMARK = "Kept from an earlier page: exp/ holds nothing of this any more."
_NOTES = "Notes"
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


def keep(document: Document, page: str) -> Document:
    """The document with the sections of an earlier page that it lacks, in front of the notes.

    Sections of the same title are the new ones whole: rows are not mixed, for they may have been
    measured otherwise.
    """
    own = {section.title for section in document.sections}
    kept = tuple(
        Section(title, (Text(REMARK), Verbatim(body)))
        for title, body in _sections(page)
        if title not in own
    )
    notes = [s for s in document.sections if s.title == _NOTES]
    others = [s for s in document.sections if s.title != _NOTES]
    return replace(document, sections=(*others, *kept, *notes))


def _sections(page: str) -> list[tuple[str, str]]:
    """Titles and bodies of the second level, up to the notes, which people wrote."""
    pieces = _HEADING.split(page)[1:]
    found = []
    for title, body in zip(pieces[::2], pieces[1::2], strict=True):
        if title == _NOTES:
            break
        found.append((title, body.strip().removeprefix(REMARK).strip()))
    return found

"""Reference turns of mixtures, for scoring and as RTTM, STM and SegLST files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from asrlib.text.turns import Turn, write_turns
from asrlib.text.words import TimedWord

if TYPE_CHECKING:
    from lhotse import MonoCut

REFERENCE_FILE = "truth.seglst.json"
REFERENCE_FILES = (REFERENCE_FILE, "truth.rttm", "truth.stm")


def reference_turns_of(cuts: Iterable[MonoCut]) -> list[Turn]:
    """Return the reference turns of mixtures, in the form that scoring reads."""
    return [
        Turn(
            session=cut.id,
            channel=int((s.custom or {}).get("talker_channel", 0)),
            start=s.start,
            end=s.end,
            words=s.text or "",
            word_times=tuple(
                TimedWord(w.symbol, w.start, w.end) for w in (s.alignment or {}).get("word", ())
            ),
            speaker=s.speaker,
        )
        for cut in cuts
        for s in sorted(cut.supervisions, key=lambda s: s.start)
    ]


def write_reference_turns(directory: Path, cuts: Iterable[MonoCut]) -> None:
    """Write the reference turns of mixtures as RTTM, STM and SegLST files."""
    turns = reference_turns_of(cuts)
    with open(directory / "truth.rttm", "w", encoding="utf-8") as f:
        for t in turns:
            length, na = t.end - t.start, "<NA> <NA>"
            f.write(f"SPEAKER {t.session} 1 {t.start:.3f} {length:.3f} {na} {t.speaker} {na}\n")
    with open(directory / "truth.stm", "w", encoding="utf-8") as f:
        for t in turns:
            f.write(f"{t.session} 1 {t.speaker} {t.start:.3f} {t.end:.3f} {t.words}\n")
    write_turns(directory / REFERENCE_FILE, turns)

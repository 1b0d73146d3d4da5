"""Utterances of several made-up talkers, from speech_fakes' noise."""

from __future__ import annotations

from pathlib import Path

from lhotse import MonoCut
from lhotse.utils import fastcopy
from speech_fakes import make_cut


def talkers_cuts(folder: Path, talkers: int = 4, each: int = 3) -> dict[str, MonoCut]:
    """`each` utterances of 1 to 3 s by every talker, by id; odd ones have no word times."""
    folder.mkdir(parents=True, exist_ok=True)
    cuts = {}
    for number in range(talkers * each):
        cut = make_cut(folder, f"u{number:02d}", 1.0 + 0.37 * (number % 6), 2 + number % 3)
        supervision = fastcopy(cut.supervisions[0], speaker=f"t{number % talkers}")
        if number % 2:
            supervision = fastcopy(supervision, alignment=None)
        cuts[cut.id] = fastcopy(cut, supervisions=[supervision])
    return cuts

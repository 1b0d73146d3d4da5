"""Make raw utterance tables of Kaldi data directories: train, dev, test and further test_* sets.

If there is no dev, a tenth of the training speakers, at least one, are held out as dev. SPHERE
audio is converted into `data/audio/` of the recipe. A table `speakers.tsv` beside the directories
adds facts about the speakers.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from asrlib.data.kaldi import read_kaldi_dir
from asrlib.data.raw import RawUtterance, write_raw
from asrlib.data.speaker_facts import add_speaker_facts, read_speaker_facts
from asrlib.data.speakers import hold_out_speakers
from local.corpus import locate
from local.script import recipe_command, run
from local.sphere import as_flac

_TABLES = ("wav.scp", "text", "utt2spk")


def read_set(path: Path, converted: Path) -> list[RawUtterance]:
    """Read the utterances of a data directory, with audio in a format that lhotse reads."""
    return [_readable(row, converted) for row in read_kaldi_dir(path)]


def _readable(row: RawUtterance, converted: Path) -> RawUtterance:
    path = Path(row.audio).resolve()  # without .., which would lead out of `converted`
    if path.suffix.lower() != ".sph" or not path.exists():
        return row
    flac = converted / path.relative_to(path.anchor).with_suffix(".flac")
    return dataclasses.replace(row, audio=str(as_flac(path, flac)))


@recipe_command("raw", __doc__)
def command(recipe_dir: Path) -> None:
    corpus = locate(recipe_dir)
    names = ["train", "dev", *sorted(p.name for p in corpus.glob("test*"))]
    # A directory with other tables than wav.scp is one, too: it is incomplete, not to be left out.
    found = [name for name in names if any(os.path.lexists(corpus / name / t) for t in _TABLES)]
    converted = (recipe_dir / "data" / "audio").absolute()
    sets = {name: read_set(corpus / name, converted) for name in found}
    table = corpus / "speakers.tsv"
    if table.exists():
        sets = add_speaker_facts(sets, read_speaker_facts(table), table)
    if "dev" not in sets:
        speakers = len({utterance.speaker for utterance in sets["train"]})
        train, dev = hold_out_speakers(sets["train"], max(1, speakers // 10))
        sets = {**sets, "train": train, "dev": dev}
    write_raw(recipe_dir / "data" / "raw", sets)


if __name__ == "__main__":
    run(command)

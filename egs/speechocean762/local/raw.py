"""Raw utterance tables of speechocean762: its own train and test; dev are speakers of train.

The corpus brings Kaldi data directories, with the paths in `wav.scp` relative to its root. Its
speakers are four digits, some of which are speakers of LibriSpeech too; here they bear a prefix.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from asrlib.data.kaldi import read_kaldi_dir
from asrlib.data.raw import RawUtterance, write_raw
from asrlib.data.speakers import hold_out_speakers
from local.corpus import locate
from local.script import recipe_command, run

DEV_SPEAKERS = 12
CHILD_BELOW = 16  # years


def group(utterance: RawUtterance) -> str:
    """Gender, and child or adult: dev holds speakers of all four groups."""
    child = utterance.age is not None and utterance.age < CHILD_BELOW
    return f"{utterance.gender} {'child' if child else 'adult'}"


def read_set(corpus: Path, name: str) -> list[RawUtterance]:
    """The utterances of `train` or `test`."""
    rows = read_kaldi_dir(corpus / name, corpus, {"corpus": "speechocean762"})
    return [dataclasses.replace(row, speaker=f"so762-{row.speaker}") for row in rows]


@recipe_command("raw", __doc__)
def command(recipe_dir: Path) -> None:
    corpus = locate(recipe_dir)
    train, dev = hold_out_speakers(read_set(corpus, "train"), DEV_SPEAKERS, group)
    sets = {"train": train, "dev": dev, "test": read_set(corpus, "test")}
    write_raw(recipe_dir / "data" / "raw", sets)


if __name__ == "__main__":
    run(command)

"""Make the raw utterance tables of speechocean762: train and test, with dev held out of train.

The corpus consists of Kaldi data directories, with paths in `wav.scp` relative to its root. Its
speaker ids are four digits, some of which LibriSpeech uses too, so they get a prefix here.
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
    """Return gender, and child or adult, of the speaker: dev has speakers of all four groups."""
    child = utterance.age is not None and utterance.age < CHILD_BELOW
    return f"{utterance.gender} {'child' if child else 'adult'}"


def read_set(corpus: Path, name: str) -> list[RawUtterance]:
    """Read the utterances of `train` or `test`."""
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

"""Make the raw utterance tables of AN4: train and test of the corpus, dev held out of train.

dev has speakers of its own. The corpus must have the layout of the original archive; its audio may
be FLAC, WAV or SPHERE (`.sph`). SPHERE files are converted into `data/audio/` of the recipe.
"""

from __future__ import annotations

import re
from pathlib import Path

from tqdm import tqdm

from asrlib.data.raw import RawUtterance, write_raw
from asrlib.data.speakers import hold_out_speakers
from asrlib.errors import DataError
from local.corpus import locate
from local.script import recipe_command, run
from local.sphere import as_flac

DEV_SPEAKERS = 8

_LINE = re.compile(r"^(?P<text>.*)\((?P<id>[^()]+)\)\s*$")
# Volunteers say their names, addresses, telephone numbers and birth dates in these utterances;
# no report may print them.
_PRIVATE = re.compile(r"^cen[1-8]-")


def read_set(corpus: Path, name: str, converted: Path) -> list[RawUtterance]:
    """Read the utterances of `train` or `test`, in the order of the corpus.

    Args:
        corpus: directory of the corpus.
        name: `train` or `test`.
        converted: directory for the copies of SPHERE files.

    Raises:
        DataError: the lists of file ids and transcriptions do not match.
    """
    ids = (corpus / "etc" / f"an4_{name}.fileids").read_text().split()
    lines = (corpus / "etc" / f"an4_{name}.transcription").read_text().splitlines()
    if len(ids) != len(lines):
        raise DataError(
            f"{corpus}/etc: an4_{name}.fileids has {len(ids)} lines, .transcription {len(lines)}",
            "fetch the corpus again",
        )
    pairs = tqdm(zip(ids, lines, strict=True), total=len(ids), desc=name, disable=None)
    return [_utterance(corpus, name, converted, *pair) for pair in pairs]


def _utterance(corpus: Path, name: str, converted: Path, file_id: str, line: str) -> RawUtterance:
    match = _LINE.match(line)
    utterance = file_id.rsplit("/", 1)[-1]
    if match is None or match["id"] != utterance:
        raise DataError(
            f"{corpus}/etc/an4_{name}.transcription: there is no line for {utterance} in its place",
            "fetch the corpus again",
        )
    speaker = file_id.split("/")[-2]
    return RawUtterance(
        id=utterance,
        audio=str(audio_file(corpus / "wav" / file_id, converted / file_id)),
        text=re.sub(r"</?s>", " ", match["text"]).strip(),
        speaker=speaker,
        gender=speaker[0],
        speaker_meta={"corpus": "an4"},
        custom={"private": True} if _PRIVATE.match(utterance) else {},
    )


def audio_file(stem: Path, converted: Path) -> Path:
    """Return the file of a stem in a format of lhotse; a missing file has its original name."""
    for suffix in (".flac", ".wav"):
        path = stem.with_name(stem.name + suffix)
        if path.exists():
            return path
    sphere = stem.with_name(stem.name + ".sph")
    return as_flac(sphere, converted.with_name(stem.name + ".flac")) if sphere.exists() else sphere


@recipe_command("raw", __doc__)
def command(recipe_dir: Path) -> None:
    corpus = locate(recipe_dir)
    converted = (recipe_dir / "data" / "audio").absolute()
    train, dev = hold_out_speakers(read_set(corpus, "train", converted), DEV_SPEAKERS)
    sets = {"train": train, "dev": dev, "test": read_set(corpus, "test", converted)}
    write_raw(recipe_dir / "data" / "raw", sets)


if __name__ == "__main__":
    run(command)

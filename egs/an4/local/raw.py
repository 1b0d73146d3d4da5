"""Raw utterance tables of AN4: its own train and test; dev are speakers held out of train.

The layout is that of the original archive; audio may be FLAC, WAV or SPHERE (`.sph`). SPHERE is
converted into `data/audio/` of the recipe.
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
# Volunteers' names, addresses, telephone numbers and birth dates: no report may print them.
_PRIVATE = re.compile(r"^cen[1-8]-")


def read_set(corpus: Path, name: str, converted: Path) -> list[RawUtterance]:
    """The utterances of `train` or `test`, in the corpus's order.

    Args:
        converted: where SPHERE files are converted to.

    Raises:
        DataError: file ids and transcriptions do not belong together.
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
            f"{corpus}/etc/an4_{name}.transcription: no line for {utterance} where it belongs",
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
    """The file of that stem, as something lhotse reads; a missing one has its original name."""
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

"""Raw utterance tables of LibriSpeech, from whichever of its parts are there.

train: all train parts. dev and test: dev-clean and test-clean where they are there (dev_other
and test_other likewise); where they are not, speakers held out of train.

lhotse's recipe gives the parts, their archives' layout and the word alignments. Its
`prepare_librispeech` itself reads `.flac` alone, drops missing files and ends at the first
broken one, so the transcripts are read here and broken files are left for the quarantine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asrlib  # noqa: F401  it comes before lhotse's torch: see asrlib/mkl.py

# isort: split
import click
from lhotse.recipes.librispeech import LIBRISPEECH, parse_alignments

from asrlib.data.raw import RawUtterance, write_raw
from asrlib.data.speakers import hold_out_speakers
from asrlib.errors import DataError
from local.corpus import locate
from local.script import recipe_command, run

DEV_SPEAKERS = 20
TEST_SPEAKERS = 30
SETS = {
    "dev-clean": "dev",
    "dev-other": "dev_other",
    "test-clean": "test",
    "test-other": "test_other",
}


def read_part(corpus: Path, part: str, genders: dict[str, str]) -> list[RawUtterance]:
    """All utterances of a part, by chapter.

    Raises:
        DataError: it has no transcripts.
    """
    rows = [
        row for t in sorted((corpus / part).rglob("*.trans.txt")) for row in _chapter(t, genders)
    ]
    if not rows:
        raise DataError(f"{corpus / part}: no *.trans.txt in it", "fetch the part again")
    return rows


def _chapter(transcript: Path, genders: dict[str, str]) -> Iterator[RawUtterance]:
    aligned = transcript.with_name(transcript.name.replace(".trans.txt", ".alignment.txt"))
    alignments = parse_alignments(aligned) if aligned.exists() else {}
    for line in transcript.read_text(encoding="utf-8").splitlines():
        utterance, _, text = line.partition(" ")
        speaker = utterance.partition("-")[0]
        items = [item for item in alignments.get(utterance, ()) if item.symbol]
        yield RawUtterance(
            id=utterance,
            audio=str(_audio_file(transcript.with_name(utterance))),
            text=text,
            speaker=speaker,
            gender=genders.get(speaker),
            speaker_meta={"corpus": "librispeech"},
            words=tuple((i.symbol, i.start, i.end) for i in items) or None,
        )


def _audio_file(stem: Path) -> Path:
    """The file of that stem; where there is none, the name it has in the original."""
    for suffix in (".flac", ".ogg", ".wav"):
        path = stem.with_name(stem.name + suffix)
        if path.exists():
            return path
    return stem.with_name(stem.name + ".flac")


def read_genders(corpus: Path) -> dict[str, str]:
    """Gender by speaker, from SPEAKERS.TXT (`id | sex | part | minutes | name`)."""
    file = corpus / "SPEAKERS.TXT"
    if not file.exists():
        return {}
    lines = (line for line in file.read_text(encoding="utf-8").splitlines() if line[:1] != ";")
    fields = [[field.strip() for field in line.split("|")] for line in lines]
    return {f[0]: f[1].lower() for f in fields if len(f) > 1}


@recipe_command("raw", __doc__)
@click.option("--train-only", is_flag=True, help="All utterances of the train parts, no dev, test.")
def command(recipe_dir: Path, train_only: bool) -> None:
    corpus = locate(recipe_dir)
    genders = read_genders(corpus)
    parts = {p: read_part(corpus, p, genders) for p in LIBRISPEECH if (corpus / p).is_dir()}
    train = [row for part, rows in parts.items() if part.startswith("train") for row in rows]
    if not train:
        raise DataError(f"{corpus}: no train part in it", "fetch at least train-clean-100")
    sets = {"train": train}
    if not train_only:
        sets |= {name: parts[part] for part, name in SETS.items() if part in parts}
        for name, count in (("test", TEST_SPEAKERS), ("dev", DEV_SPEAKERS)):
            if name not in sets:
                sets["train"], sets[name] = hold_out_speakers(sets["train"], count)
    write_raw(recipe_dir / "data" / "raw", sets)


if __name__ == "__main__":
    run(command)

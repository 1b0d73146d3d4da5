"""Make the raw utterance tables of LibriSpeech from the parts that the corpus directory has.

train consists of all train parts. dev and test are dev-clean and test-clean (dev_other and
test_other likewise); if dev or test is missing, speakers of train are held out for it.

lhotse's recipe gives the names of the parts, their layout and the word alignments. Its
`prepare_librispeech` reads only `.flac`, drops missing files and stops at the first broken one.
Therefore the transcripts are read here, and broken files are left to stage 1, which quarantines
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asrlib  # noqa: F401  before lhotse, which imports torch: see asrlib/mkl.py

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
    """Read all utterances of a part, by chapter.

    Raises:
        DataError: the part has no transcripts.
    """
    rows = [
        row for t in sorted((corpus / part).rglob("*.trans.txt")) for row in _chapter(t, genders)
    ]
    if not rows:
        raise DataError(f"{corpus / part}: there is no *.trans.txt in it", "fetch the part again")
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
    """Return the audio file of a stem; a missing file has its original name."""
    for suffix in (".flac", ".ogg", ".wav"):
        path = stem.with_name(stem.name + suffix)
        if path.exists():
            return path
    return stem.with_name(stem.name + ".flac")


def read_genders(corpus: Path) -> dict[str, str]:
    """Read the speakers' genders from SPEAKERS.TXT (`id | sex | part | minutes | name`)."""
    file = corpus / "SPEAKERS.TXT"
    if not file.exists():
        return {}
    lines = (line for line in file.read_text(encoding="utf-8").splitlines() if line[:1] != ";")
    fields = [[field.strip() for field in line.split("|")] for line in lines]
    return {f[0]: f[1].lower() for f in fields if len(f) > 1}


@recipe_command("raw", __doc__)
@click.option(
    "--train-only", is_flag=True, help="Use the train parts only and make no dev and test."
)
def command(recipe_dir: Path, train_only: bool) -> None:
    corpus = locate(recipe_dir)
    genders = read_genders(corpus)
    parts = {p: read_part(corpus, p, genders) for p in LIBRISPEECH if (corpus / p).is_dir()}
    train = [row for part, rows in parts.items() if part.startswith("train") for row in rows]
    if not train:
        raise DataError(f"{corpus}: there is no train part in it", "fetch at least train-clean-100")
    sets = {"train": train}
    if not train_only:
        sets |= {name: parts[part] for part, name in SETS.items() if part in parts}
        for name, count in (("test", TEST_SPEAKERS), ("dev", DEV_SPEAKERS)):
            if name not in sets:
                sets["train"], sets[name] = hold_out_speakers(sets["train"], count)
    write_raw(recipe_dir / "data" / "raw", sets)


if __name__ == "__main__":
    run(command)

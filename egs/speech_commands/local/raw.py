"""Make the raw utterance tables of Speech Commands: Google's split, which is a split by speaker.

dev and test are the corpus's validation and testing lists, train is everything else. Verification
enrols a speaker on three words and tests on three others, and in a part of the corpus hardly any
dev speaker said six: then speakers of train who did move to dev, as many as are missing. lhotse's
`prepare_speechcommands` makes the same sets before that move (a test compares them), but it reads
`.wav` only, wants the names of Google's two archives, needs the second archive for its test set,
and stops at the first broken file. Therefore the lists are read here, and broken and missing
files are left to stage 1, which quarantines them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from asrlib.data.raw import RawUtterance, write_raw
from asrlib.errors import DataError
from asrlib.seeds import derive_seed
from local.corpus import locate
from local.script import recipe_command, run

LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}
BACKGROUND_NOISE = "_background_noise_"  # a folder of sounds that nobody speaks in
AUDIO = (".wav", ".ogg", ".flac")
VOICES, WORDS = 24, 6  # dev speakers for verification, and the different words that one needs
SEED = 1  # of the choice of speakers who move from train to dev
_CLIP = re.compile(r"^(?P<word>[^/]+)/(?P<speaker>[^/_]+)_nohash_(?P<number>\d+)\.\w+$")


def read_list(corpus: Path, name: str) -> set[str]:
    """Read the clips of a list, as paths `<word>/<speaker>_nohash_<number>.<suffix>`.

    Raises:
        DataError: the list is missing or empty.
    """
    path = corpus / name
    clips = set(path.read_text(encoding="utf-8").split()) if path.exists() else set()
    if not clips:
        raise DataError(
            f"{path}: missing or empty", "fetch the corpus again; its lists are its split"
        )
    return clips


def utterance(corpus: Path, clip: str) -> RawUtterance:
    """Return the utterance of a clip: one word by the speaker that the file's name names.

    Raises:
        DataError: the clip's name is not of the corpus's form.
    """
    match = _CLIP.match(clip)
    if match is None:
        raise DataError(
            f"{corpus / clip}: not a name <word>/<speaker>_nohash_<number>",
            "remove the file or the line of the list",
        )
    return RawUtterance(
        id=f"{match['word']}_{match['speaker']}_nohash_{match['number']}",
        audio=str(corpus / clip),
        text=match["word"],
        speaker=match["speaker"],
        speaker_meta={"corpus": "speech_commands"},
    )


def speakers_of_many_words(rows: Sequence[RawUtterance]) -> list[str]:
    """The speakers of at least `WORDS` different words, in an order that a seed draws."""
    said: dict[str, set[str]] = {}
    for row in rows:
        said.setdefault(row.speaker, set()).add(row.text)
    found = [speaker for speaker, words in said.items() if len(words) >= WORDS]
    return sorted(found, key=lambda speaker: derive_seed("dev voices", SEED, speaker))


def with_dev_voices(sets: dict[str, list[RawUtterance]]) -> dict[str, list[RawUtterance]]:
    """Move speakers of train to dev until dev has `VOICES` of many words, if train has as many."""
    lacking = max(0, VOICES - len(speakers_of_many_words(sets["dev"])))
    moved = set(speakers_of_many_words(sets["train"])[:lacking])
    parts = {
        here: [row for row in sets["train"] if (row.speaker in moved) == here]
        for here in (True, False)
    }
    dev = sorted([*sets["dev"], *parts[True]], key=lambda row: row.id)
    return {**sets, "train": parts[False], "dev": dev}


@recipe_command("raw", __doc__)
def command(recipe_dir: Path) -> None:
    corpus = locate(recipe_dir)
    listed = {name: read_list(corpus, file) for name, file in LISTS.items()}
    found = {
        f"{path.parent.name}/{path.name}"
        for path in corpus.glob("*/*")
        if path.suffix in AUDIO and path.parent.name != BACKGROUND_NOISE
    }
    clips = {"train": found.difference(*listed.values()), **listed}
    sets = {name: [utterance(corpus, clip) for clip in sorted(c)] for name, c in clips.items()}
    write_raw(recipe_dir / "data" / "raw", with_dev_voices(sets))


if __name__ == "__main__":
    run(command)

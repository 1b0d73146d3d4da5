"""Pool the raw utterance tables of the member corpora into the sets of this recipe."""

from __future__ import annotations

from pathlib import Path

from asrlib.data.raw import RawUtterance, read_raw, write_raw
from asrlib.errors import DataError
from local.script import recipe_command, run

POOL = {
    "train": [("speechocean762", "train"), ("an4", "train"), ("librispeech", "train")],
    "dev": [("speechocean762", "dev"), ("an4", "dev")],
    "test_an4": [("an4", "test")],
    "test_so762": [("speechocean762", "test")],
}


def check_speakers(sets: dict[str, list[RawUtterance]]) -> None:
    """Check that each speaker id belongs to one corpus only.

    Raises:
        DataError: two corpora use the same speaker id.
    """
    corpora: dict[str, object] = {}
    for utterance in (u for utterances in sets.values() for u in utterances):
        corpus = utterance.speaker_meta.get("corpus")
        if corpora.setdefault(utterance.speaker, corpus) != corpus:
            raise DataError(
                f"speaker {utterance.speaker} is in {corpora[utterance.speaker]} and in {corpus}",
                "give the speakers of one corpus a prefix in its local/raw.py",
            )


@recipe_command("raw", __doc__)
def command(recipe_dir: Path) -> None:
    parts = recipe_dir / "data" / "parts"
    sets = {
        name: [
            utterance
            for member, part in members
            for utterance in read_raw(parts / member / "data" / "raw" / f"{part}.jsonl")
        ]
        for name, members in POOL.items()
    }
    check_speakers(sets)
    write_raw(recipe_dir / "data" / "raw", sets)


if __name__ == "__main__":
    run(command)

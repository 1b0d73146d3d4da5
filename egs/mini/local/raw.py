"""Make the raw utterance tables of the synthetic corpus, with word times and planted facts.

Beside them, `data/zip_attributes.csv` gets the invented attributes of zip codes.
"""

from __future__ import annotations

import json
from pathlib import Path

from people import Speaker
from zip_attributes import write_zip_attributes

from asrlib.data.raw import RawUtterance, write_raw
from local.corpus import locate
from local.script import recipe_command, run


def read_speaker(corpus: Path, speaker: Speaker) -> list[RawUtterance]:
    """Read one speaker's utterances, in the order in which they were spoken."""
    lines = (corpus / speaker.set / speaker.id / "utterances.jsonl").read_text().splitlines()
    return [
        RawUtterance(
            id=row["id"],
            audio=str(corpus / row["audio"]),
            text=row["text"],
            speaker=speaker.id,
            gender=speaker.gender,
            speaker_meta={"corpus": "mini", **speaker.meta()},
            custom={"intent": row["intent"]},
            words=tuple((word.upper(), start, end) for word, start, end in row["words"]),
        )
        for row in map(json.loads, lines)
    ]


@recipe_command("raw", __doc__)
def command(recipe_dir: Path) -> None:
    corpus = locate(recipe_dir)
    sets: dict[str, list[RawUtterance]] = {}
    for fields in json.loads((corpus / "speakers.json").read_text()):
        speaker = Speaker(**fields)
        sets.setdefault(speaker.set, []).extend(read_speaker(corpus, speaker))
    write_raw(recipe_dir / "data" / "raw", sets)
    write_zip_attributes(recipe_dir / "data" / "zip_attributes.csv", recipe_dir / "conf")


if __name__ == "__main__":
    run(command)

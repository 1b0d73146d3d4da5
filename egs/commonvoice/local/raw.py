"""Make the raw utterance tables of Common Voice: train, dev, and the speakers with an accent label.

`test_accents` has all validated clips of the speakers who named their accent; they are in no other
set. train and dev (and test, where a release has it) are the corpus's own lists without these
speakers. A speaker is a `client_id`.

lhotse's `prepare_commonvoice` writes manifests of the lists as they are and stops at the first
broken file. Therefore the lists are read here, as it reads them, and broken and missing files are
left to stage 1, which quarantines them.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from asrlib.data.raw import RawUtterance, Scalar, write_raw
from asrlib.data.speakers import hold_out_speakers
from asrlib.errors import DataError
from local.corpus import locate
from local.script import recipe_command, run

GENDERS = {"female": "f", "female_feminine": "f", "male": "m", "male_masculine": "m"}
DEV_SHARE = 20  # without a dev list, one training speaker in this many is held out
Clip = dict[str, str]


def read_list(path: Path) -> list[Clip]:
    """Read the rows of a list, by column.

    Raises:
        DataError: a column is missing, a row has another number of cells, or a row lacks its clip.
    """
    with open(path, encoding="utf-8", newline="") as f:
        rows = list(csv.reader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    header = rows[0] if rows else []
    if missing := {"client_id", "path", "sentence"} - set(header):
        raise DataError(
            f"{path}: line 1: no column {', '.join(sorted(missing))}", "fetch the corpus again"
        )
    clips = []
    for number, row in enumerate(rows[1:], 2):
        clip = dict(zip(header, row, strict=False))
        if len(row) != len(header) or not clip["client_id"] or not clip["path"]:
            raise DataError(f"{path}: line {number}: half-written", "fetch the corpus again")
        clips.append(clip)
    return clips


def speaker_facts(clips: Iterable[Clip]) -> dict[str, dict[str, str]]:
    """Return what each speaker said about himself most often; empty answers do not count.

    People answer once per clip, and may change their answers with the years.
    """
    answers: dict[str, dict[str, Counter[str]]] = {}
    for clip in clips:
        facts = answers.setdefault(clip["client_id"], {})
        for name, column in (("accent", "accents"), ("gender", "gender"), ("age_band", "age")):
            answer = clip.get(column) or (clip.get("accent") if name == "accent" else None)
            if answer:
                facts.setdefault(name, Counter())[answer] += 1
    return {
        speaker: {name: counts.most_common(1)[0][0] for name, counts in facts.items()}
        for speaker, facts in answers.items()
    }


def utterance(corpus: Path, clip: Clip, facts: Mapping[str, str]) -> RawUtterance:
    """Return the utterance of a clip, with its speaker's gender, and band of age and accent."""
    gender = facts.get("gender", "")
    meta: dict[str, Scalar] = {k: v for k, v in facts.items() if k != "gender"}
    return RawUtterance(
        id=Path(clip["path"]).stem,
        audio=str(corpus / "clips" / clip["path"]),
        text=clip["sentence"],
        speaker=clip["client_id"],
        gender=GENDERS.get(gender, gender) or None,
        speaker_meta={"corpus": "commonvoice", **meta},
    )


@recipe_command("raw", __doc__)
def command(recipe_dir: Path) -> None:
    corpus = locate(recipe_dir)
    lists = {
        name: read_list(corpus / f"{name}.tsv")
        for name in ("validated", "train", "dev", "test")
        if (corpus / f"{name}.tsv").exists()
    }
    if "train" not in lists:
        raise DataError(f"{corpus / 'train.tsv'}: missing", "fetch the corpus again")
    facts = speaker_facts(clip for clips in lists.values() for clip in clips)
    accented = lists.pop("validated")
    sets = {
        name: [
            utterance(corpus, clip, facts[clip["client_id"]])
            for clip in clips
            if ("accent" in facts[clip["client_id"]]) == (name == "test_accents")
        ]
        for name, clips in {**lists, "test_accents": accented}.items()
    }
    if "dev" not in sets:
        speakers = len({u.speaker for u in sets["train"]})
        sets["train"], sets["dev"] = hold_out_speakers(sets["train"], max(1, speakers // DEV_SHARE))
    write_raw(recipe_dir / "data" / "raw", sets)


if __name__ == "__main__":
    run(command)

"""Make the raw utterance tables of VoxCeleb, and its trial lists in data/trials/.

With VoxCeleb2, voices are trained on its speakers, and all of VoxCeleb1 is for testing: `test` has
the 40 speakers of the list VoxCeleb1-O, `test_rest` the others, whom the lists E and H need too.
Without VoxCeleb2, voices are trained on the dev speakers of VoxCeleb1; then only O is a test on new
speakers, and E and H are left out. Some training speakers are held out as dev.

lhotse's `prepare_voxceleb` makes the same utterances of VoxCeleb1 (a test compares them), but it
downloads a trial list each time and stops at the first broken file. Therefore the folders are read
here, and broken files are left to stage 1, which quarantines them.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from asrlib.data.raw import RawUtterance, Scalar, write_raw
from asrlib.data.speakers import hold_out_speakers
from asrlib.errors import DataError
from asrlib.files import atomic_dir
from local.corpus import locate
from local.script import recipe_command, run

DEV_SPEAKERS = 40
TEST = "test"  # the value of `Set` of VoxCeleb1's 40 test speakers
AUDIO = (".wav", ".flac", ".ogg")
# Names under which the trial lists are published; the first one, cleaned of errors, is preferred.
TRIALS = {
    "O": ("veri_test2.txt", "veri_test.txt"),
    "E": ("list_test_all2.txt", "list_test_all.txt"),
    "H": ("list_test_hard2.txt", "list_test_hard.txt"),
}


def read_meta(path: Path, delimiter: str) -> dict[str, dict[str, str]]:
    """Read the table of speakers: their columns by id; names of people are left out.

    Raises:
        DataError: the table is missing or has no column for id, gender and set.
    """
    if not path.exists():
        raise DataError(f"{path}: missing", "download it from VoxCeleb's page into this folder")
    with open(path, encoding="utf-8", newline="") as f:
        rows = list(csv.reader(f, delimiter=delimiter))
    header = [name.strip() for name in rows[0]] if rows else []
    if {"Gender", "Set"} - set(header) or not header[0].endswith(" ID"):
        raise DataError(
            f"{path}: line 1: no columns VoxCeleb ID, Gender and Set", "download the table again"
        )
    wanted = [i for i, name in enumerate(header) if name in ("Gender", "Nationality", "Set")]
    table = {}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise DataError(f"{path}: line {number}: half-written", "download the table again")
        cells = [cell.strip() for cell in row]
        table[cells[0]] = {header[i].lower(): cells[i] for i in wanted}
    return table


def read_clips(
    corpus: Path, meta: Mapping[str, Mapping[str, str]], part: str
) -> list[RawUtterance]:
    """Read all clips `<speaker>/<video>/<number>.wav`, wherever in the corpus the speakers lie.

    Raises:
        DataError: there is no clip, or a speaker is not in the table.
    """
    paths = sorted(p for p in corpus.rglob("*/*/*") if p.suffix in AUDIO)
    if not paths:
        m4a = next(corpus.rglob("*.m4a"), None)
        raise DataError(
            f"{corpus}: no clip <speaker>/<video>/<number>.wav in it"
            + (f", but {m4a}" if m4a else ""),
            "unpack the audio there"
            + (
                "; convert .m4a to .wav first: ffmpeg -i IN.m4a -ar 16000 -ac 1 OUT.wav"
                if m4a
                else ""
            ),
        )
    rows = []
    for path in paths:
        speaker, video = path.parts[-3:-1]
        if speaker not in meta:
            raise DataError(
                f"{path}: speaker {speaker} is not in the table of speakers",
                "complete the table, or remove the folder",
            )
        facts: dict[str, Scalar] = {"corpus": part}
        if nationality := meta[speaker].get("nationality"):
            facts["nationality"] = nationality
        rows.append(
            RawUtterance(
                id=f"{speaker}-{video}-{path.stem}",
                audio=str(path),
                text="",
                speaker=speaker,
                gender=meta[speaker]["gender"].lower() or None,
                speaker_meta=facts,
                custom={"video": video},
            )
        )
    return rows


def convert_trials(path: Path) -> list[str]:
    """Return the lines `1 UTTERANCE UTTERANCE` (same speaker; else 0) with ids of utterances.

    Raises:
        DataError: a line is malformed; the message names the line.
    """
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        label, *clips = line.split()
        pair = [clip.rpartition(".")[0].replace("/", "-") for clip in clips]
        if label not in ("0", "1") or len(pair) != 2:
            raise DataError(
                f"{path}: line {number}: not a line `1 CLIP CLIP` or `0 CLIP CLIP`",
                "download the list again, or remove it",
            )
        lines.append(" ".join([label, *pair]) + "\n")
    return lines


def write_trials(places: list[Path], out: Path, names: Collection[str]) -> None:
    """Write trial lists as `out/<name>.txt`; those that are missing or not wanted are logged.

    Args:
        places: directories that may hold the lists.
        out: directory of the trial lists.
        names: the lists of `TRIALS` whose speakers are not trained on.
    """
    with atomic_dir(out) as temp:
        for name, files in TRIALS.items():
            found = [place / f for f in files for place in places if (place / f).exists()]
            if not found:
                logging.warning("no trials VoxCeleb1-%s: %s is missing", name, files[0])
            elif name not in names:
                logging.warning("no trials VoxCeleb1-%s: its speakers are trained on", name)
            else:
                lines = convert_trials(found[0])
                (temp / f"{name}.txt").write_text("".join(lines))
                logging.info("VoxCeleb1-%s: %d trials of %s", name, len(lines), found[0])


@recipe_command("raw", __doc__)
def command(recipe_dir: Path) -> None:
    found = locate(recipe_dir)
    together = (found / "voxceleb1").is_dir()
    first, second = (found / "voxceleb1", found / "voxceleb2") if together else (found, None)
    meta = read_meta(first / "vox1_meta.csv", "\t")
    clips = read_clips(first, meta, "voxceleb1")
    test = [u for u in clips if meta[u.speaker]["set"] == TEST]
    rest = [u for u in clips if meta[u.speaker]["set"] != TEST]
    sets = {"train": rest, "test": test}
    if second is not None and second.is_dir():
        other = read_clips(second, read_meta(second / "vox2_meta.csv", ","), "voxceleb2")
        sets = {"train": other, "test": test, "test_rest": rest}
    sets["train"], sets["dev"] = hold_out_speakers(sets["train"], DEV_SPEAKERS)
    wanted = TRIALS if "test_rest" in sets else ("O",)
    write_trials([first, found], recipe_dir / "data" / "trials", wanted)
    write_raw(recipe_dir / "data" / "raw", sets)


if __name__ == "__main__":
    run(command)

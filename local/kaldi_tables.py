"""Write one set of a recipe as Kaldi tables: text, utt2spk, wav.scp, and speakers.tsv.

The audit (`python -m asrlib audit`) takes them, as does any other tool that reads Kaldi's formats.
They are made from data/raw/, so the recipe's own data preparation decides what a speaker is. With
--decode, what a model of the recipe wrote becomes hyp.txt. With --unlike, sentences of another
set, such as train, are left out.
"""

from __future__ import annotations

from pathlib import Path

import click

from asrlib.data.raw import RawUtterance, read_raw
from asrlib.files import atomic_write
from asrlib.scoring.records import HYP_FILE, iter_utterances
from local.script import recipe_command, run


def facts(utterance: RawUtterance) -> dict[str, str]:
    """Return what is known of the speaker, by column; what is unknown is left out."""
    known = {"gender": utterance.gender, "age": utterance.age, **utterance.speaker_meta}
    return {
        k: f"{v:g}" if isinstance(v, float) else str(v) for k, v in known.items() if v is not None
    }


@recipe_command("kaldi_tables", __doc__)
@click.option("--set-name", required=True, help="The set: data/raw/SET_NAME.jsonl.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option(
    "--decode",
    type=click.Path(file_okay=False, path_type=Path),
    help="A decode directory of that set, such as exp/lstm/decode_test_greedy.",
)
@click.option("--unlike", metavar="SET", help="Leave out sentences of this set, such as train.")
def command(
    recipe_dir: Path, set_name: str, out: Path, decode: Path | None, unlike: str | None
) -> None:
    raw = recipe_dir / "data" / "raw"
    known_texts = {u.text for u in read_raw(raw / f"{unlike}.jsonl")} if unlike else set()
    rows = [u for u in read_raw(raw / f"{set_name}.jsonl") if u.text not in known_texts]
    speakers = {u.speaker: facts(u) for u in rows}
    columns = list(dict.fromkeys(c for known in speakers.values() for c in known if c != "corpus"))
    table = [["speaker", *columns]]
    table += [[s, *(known.get(c, "") for c in columns)] for s, known in sorted(speakers.items())]
    contents = {
        "text": [f"{u.id} {u.text}" for u in rows],
        "utt2spk": [f"{u.id} {u.speaker}" for u in rows],
        "wav.scp": [f"{u.id} {u.audio}" for u in rows],
        "speakers.tsv": ["\t".join(row) for row in table],
    }
    if decode is not None:
        heard = iter_utterances(decode / HYP_FILE)
        left = {u.id for u in rows}
        contents["hyp.txt"] = [" ".join((u.id, *u.hyp)) for u in heard if u.id in left]
    for name, lines in contents.items():
        with atomic_write(out / name) as f:
            f.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    run(command)

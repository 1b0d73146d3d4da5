"""Pool the raw utterance tables of the member corpora into the sets of this recipe."""

from __future__ import annotations

import logging
from pathlib import Path

import click
import soundfile
from members import POOL, Member, PoolConfig, read_config

from asrlib.data.raw import TRAIN_SET, RawUtterance, read_raw, write_raw
from asrlib.errors import DataError
from local.script import recipe_command, run


def read_member(parts: Path, member: Member, part: str, config: PoolConfig) -> list[RawUtterance]:
    """Read one set of a member; a training set without the utterances above the limit."""
    rows = read_raw(parts / member / "data" / "raw" / f"{part}.jsonl")
    limit = config.max_seconds.get(member)
    if part != TRAIN_SET or limit is None:
        return rows
    kept = [row for row in rows if seconds(Path(row.audio)) <= limit]
    logging.info("%s: %d of %d utterances are at most %g s", member, len(kept), len(rows), limit)
    return kept


def seconds(path: Path) -> float:
    """Return a file's length, or 0 if it cannot be read: stage 1 then reports the fault."""
    try:
        return soundfile.info(path).duration
    except (OSError, soundfile.LibsndfileError):
        return 0.0


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
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE")
def command(recipe_dir: Path, overrides: tuple[str, ...]) -> None:
    config = read_config(recipe_dir, overrides)
    parts = recipe_dir / "data" / "parts"
    sets = {
        name: [
            utterance
            for member, part in members
            if member in config.members
            for utterance in read_member(parts, member, part, config)
        ]
        for name, members in POOL.items()
    }
    sets = {name: rows for name, rows in sets.items() if rows}
    check_speakers(sets)
    write_raw(recipe_dir / "data" / "raw", sets)


if __name__ == "__main__":
    run(command)

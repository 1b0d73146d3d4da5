"""Find a corpus, or download it; write its location to data/corpus.json of the recipe.

If --corpus-dir is given, the corpus must be there. Otherwise it is searched first where an earlier
run of this recipe, or of the corpus's own recipe (--home), found it, and then in corpus/ of that
own recipe, into which it is downloaded if it is missing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import click

from asrlib.errors import DataError
from asrlib.files import atomic_write
from local.fetch import Archive, fetch
from local.script import recipe_command, run


def find(place: Path, probes: Sequence[str], inside: Sequence[str]) -> Path | None:
    """Return `place`, or the first of its subdirectories `inside`, that contains a probe."""
    for candidate in [place, *(place / name for name in inside)]:
        if any((candidate / probe).exists() for probe in probes):
            return candidate.resolve()
    return None


def recorded(recipe_dir: Path) -> Path | None:
    """Return the location at which an earlier run found the corpus, or None.

    Raises:
        DataError: the recipe's data/corpus.json is broken.
    """
    file = recipe_dir / "data" / "corpus.json"
    if not file.exists():
        return None
    try:
        return Path(json.loads(file.read_text())["corpus_dir"])
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(
            f"{file}: does not say where the corpus is: {e!r}", "remove it, then run stage 0 again"
        ) from e


def locate(recipe_dir: Path) -> Path:
    """Return the recorded location, for the step that reads the corpus.

    Raises:
        DataError: stage 0 has not run, or the corpus is no longer there.
    """
    place = recorded(recipe_dir)
    if place is None or not place.is_dir():
        what = "stage 0 has not run" if place is None else f"{place} no longer exists"
        raise DataError(
            f"{recipe_dir}: the corpus is missing: {what}",
            "run stage 0 of the recipe, with --corpus-dir DIR if you have a copy",
        )
    return place


def _archive(text: str) -> Archive:
    url, _, checksum = text.partition(" ")
    return Archive(url, checksum)


def _download(
    place: Path, probes: Sequence[str], inside: Sequence[str], archives: Sequence[str]
) -> Path | None:
    """Download the missing archives, unless somebody unpacked the corpus there by hand."""
    by_hand = not (place / ".fetched").exists() and find(place, probes, inside)
    if not by_hand:
        for archive in archives:
            fetch(_archive(archive), place)
    return find(place, probes, inside)


@recipe_command("corpus", __doc__)
@click.option("--corpus-dir", default="", help="Directory of an existing copy.")
@click.option(
    "--home", type=click.Path(path_type=Path), required=True, help="The corpus's own recipe."
)
@click.option("--title", required=True, help="Name of the corpus in messages.")
@click.option("--probe", "probes", multiple=True, required=True, help="A file or folder in it.")
@click.option("--inside", multiple=True, help="A subdirectory that may hold the corpus.")
@click.option("--archive", "archives", multiple=True, help="Archive: 'URL' or 'URL md5:HEX'.")
def command(
    recipe_dir: Path,
    corpus_dir: str,
    home: Path,
    title: str,
    probes: tuple[str, ...],
    inside: tuple[str, ...],
    archives: tuple[str, ...],
) -> None:
    if corpus_dir:
        found = find(Path(corpus_dir), probes, inside)
    else:
        earlier = [place for place in (recorded(recipe_dir), recorded(home)) if place]
        found = next(filter(None, (find(place, probes, ()) for place in earlier)), None)
        found = found or _download(home / "corpus", probes, inside, archives)
    if found is None:
        raise DataError(
            f"{corpus_dir or home / 'corpus'}: no {title} there (looked for {' or '.join(probes)})",
            "give the directory of an existing copy with --corpus-dir",
        )
    with atomic_write(recipe_dir / "data" / "corpus.json") as f:
        json.dump({"title": title, "corpus_dir": str(found)}, f, indent=1)
    logging.info("%s: %s", title, found)


if __name__ == "__main__":
    run(command)

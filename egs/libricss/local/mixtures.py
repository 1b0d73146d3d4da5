"""Make mixture sets of LibriCSS: session 0 as data/mix_dev, sessions 1 to 9 as data/mix_test.

lhotse's recipe reads the corpus. Its sessions are cut into utterance groups (arXiv 2205.05199,
2211.00482), which are turns without silence between them; how long a silence separates two groups
is our choice. A group in which three people talk at once is left out and named in the log.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, cast

import asrlib  # noqa: F401  before lhotse, which imports torch: see asrlib/mkl.py

# isort: split
import click
from lhotse import CutSet, MonoCut, RecordingSet, SupervisionSet
from lhotse.recipes.libricss import prepare_libricss
from lhotse.utils import fastcopy

from asrlib.cli.common import log_to, recipe_options
from asrlib.config import configclass
from asrlib.data.mixture_sets import write_cut_set
from asrlib.data.mixtures import MixtureConfig, assign_channels, overlap_ratio
from asrlib.errors import DataError
from asrlib.recipe import Recipe
from asrlib.text.normalise import normalise
from local.corpus import locate
from local.script import run

DEV_SESSION = "session0"


@configclass
class LibricssConfig:
    """Settings of this script; conf/libricss.yaml explains each key."""

    audio: Literal["sdm", "ihm-mix"] = "sdm"
    max_pause: float = 0.0


def read_sessions(corpus: Path, audio: str) -> CutSet:
    """Return one cut per session, with all its turns.

    Raises:
        DataError: a part of the corpus is missing or broken.
    """
    try:
        manifests = prepare_libricss(corpus, type=audio)
        return CutSet.from_manifests(
            cast(RecordingSet, manifests["recordings"]),
            cast(SupervisionSet, manifests["supervisions"]),
        )
    except Exception as e:  # lhotse passes on whatever its parsers and readers raise
        raise DataError(
            f"{corpus}: this is not LibriCSS as released: {str(e).splitlines()[0]}",
            "give the complete for_release directory: 0L, 0S, OV10, OV20, OV30, OV40",
        ) from e


def groups(session: MonoCut, max_pause: float, config: MixtureConfig) -> list[MonoCut]:
    """Cut a session into utterance groups as mixtures, and assign their turns to channels."""
    condition = session.recording_id.partition("_")[0]
    found = []
    for number, cut in enumerate(session.trim_to_supervision_groups(max_pause=max_pause)):
        name = f"{session.recording_id}-{number:03d}"
        turns = sorted(cut.supervisions, key=lambda s: s.start)
        spans = [(max(0.0, t.start), min(t.end, cut.duration)) for t in turns]
        try:
            channels = assign_channels(spans, config.assignment, name)
        except DataError as e:
            logging.warning("left out: %s", e.what)
            continue
        supervisions = [
            fastcopy(
                turn,
                start=start,
                duration=end - start,
                text=normalise(turn.text),
                custom={"talker_channel": channel},
            )
            for turn, (start, end), channel in zip(turns, spans, channels, strict=True)
        ]
        custom = {"condition": condition, "overlap_ratio": round(overlap_ratio(spans), 4)}
        found.append(fastcopy(cut, id=name, supervisions=supervisions, custom=custom))
    return found


@click.command(help=__doc__)
@recipe_options
def command(recipe: Recipe) -> None:
    log_to(recipe.data / "log" / "mixtures.log")
    config = recipe.config(LibricssConfig, "libricss")
    mixtures = recipe.config(MixtureConfig, "mixtures")
    sets: dict[str, list[MonoCut]] = {"dev": [], "test": []}
    sessions = read_sessions(locate(recipe.data / "parts" / "libricss"), config.audio)
    for session in sorted(sessions, key=lambda cut: cut.recording_id):
        name = "dev" if session.recording_id.endswith(f"_{DEV_SESSION}") else "test"
        sets[name] += groups(session, config.max_pause, mixtures)
    for name, cuts in sets.items():
        if not cuts:
            raise DataError(f"LibriCSS: no session for mix_{name}", "fetch the corpus again")
        write_cut_set(recipe.data / f"mix_{name}", cuts)
        turns = sum(len(cut.supervisions) for cut in cuts)
        logging.info("mix_%s: %d utterance groups, %d turns", name, len(cuts), turns)


if __name__ == "__main__":
    run(command)

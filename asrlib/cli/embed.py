"""`python -m asrlib embed`: speaker embeddings of a set."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import click

from asrlib.cli.common import log_to, stage_options
from asrlib.errors import DataError
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp

log = logging.getLogger(__name__)


@click.command(name="embed")
@click.option("--name", required=True, help="The speaker model: a directory under exp/.")
@click.option("--set-name", default="test", show_default=True, help="A set under data/.")
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A checkpoint of the same model to use instead of exp/NAME/final.pt.",
)
@click.option(
    "--num-threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of torch threads.",
)
@stage_options
def command(
    recipe: Recipe, name: str, set_name: str, checkpoint: Path | None, num_threads: int
) -> None:
    """Embed every utterance of data/SET, whole, and every speaker.

    Write exp/NAME/embeddings_SET/utterances.npz, a row for each utterance, and speakers.npz, the
    mean of each speaker's unit-length embeddings. Utterances that cannot be embedded are named on
    stderr and have a row of NaN.
    """
    import torch

    from asrlib.data.cuts import iter_cuts
    from asrlib.experiments.training_log import check_same_model
    from asrlib.speakers.embedder import EMBED_VERSION, Embedder, speaker_table

    cuts_path = recipe.data / set_name / "cuts.jsonl.gz"
    if not cuts_path.exists():
        raise DataError(f"{cuts_path}: missing", "run stage 1, or choose another --set-name")
    checkpoint = checkpoint or recipe.exp / name / "final.pt"
    torch.set_num_threads(num_threads)
    embedder = Embedder.of(checkpoint)
    check_same_model(checkpoint, embedder.config, recipe.exp / name)
    out = recipe.exp / name / f"embeddings_{set_name}"
    log_to(out / "log" / "embed.log")
    outputs = [out / "utterances.npz", out / "speakers.npz"]
    stamp = Stamp(out / ".embed.stamp", [cuts_path, checkpoint], {}, outputs, version=EMBED_VERSION)
    if not recipe.force and stamp.is_current():
        log.info("embed %s %s: up to date", name, set_name)
        return
    begin = time.perf_counter()
    with stamp.making():
        cuts = list(iter_cuts(cuts_path, "run stage 1 again with --force"))
        seconds = sum(cut.duration for cut in cuts)
        try:
            utterances = embedder.cuts(cuts)
        except DataError as e:
            raise DataError(f"{cuts_path}: {e.what}", e.fix) from e
        speakers = speaker_table(utterances)
        utterances.write(outputs[0])
        speakers.write(outputs[1])
    log.info(
        "embed %s %s: %d of %d utterances, %d speakers, %.0f s of audio per s",
        name,
        set_name,
        len(utterances.finite().ids),
        len(utterances.ids),
        len(speakers.ids),
        seconds / (time.perf_counter() - begin),
    )

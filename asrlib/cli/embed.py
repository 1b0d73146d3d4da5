"""`python -m asrlib embed`: speaker embeddings of a set."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asrlib.cli.common import log_to, stage_options, threads_option
from asrlib.errors import ConfigError, DataError
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp

if TYPE_CHECKING:
    from asrlib.speakers.embedder import Embedder

log = logging.getLogger(__name__)


@click.command(name="embed")
@click.option("--name", help="The speaker model: a directory under exp/.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="Instead of --name: a speaker model of anywhere, a final.pt or its directory.",
)
@click.option(
    "--set-name",
    "--test-set",
    "set_name",
    metavar="SET",
    help="A set under data/; both spellings are the same. [default: test]",
)
@click.option(
    "--cuts",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Instead of a set: any lhotse manifest of cuts, .jsonl or .jsonl.gz.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The directory to write to; required with --model or --cuts.",
)
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A checkpoint of the same model to use instead of exp/NAME/final.pt.",
)
@threads_option
@stage_options
def command(
    recipe: Recipe,
    name: str | None,
    model: Path | None,
    set_name: str | None,
    cuts: Path | None,
    out: Path | None,
    checkpoint: Path | None,
    num_threads: int,
) -> None:
    """Embed every utterance of data/SET, whole, and every speaker.

    Write exp/NAME/embeddings_SET/utterances.npz, or OUT/utterances.npz, a row for each utterance,
    and speakers.npz, the mean of each speaker's unit-length embeddings. Utterances that cannot be
    embedded are named on stderr and have a row of NaN.
    """
    import torch

    from asrlib.experiments.training_log import check_same_model
    from asrlib.speakers.embedder import EMBED_VERSION, Embedder

    _check_choice(name, model, set_name, cuts, out, checkpoint)
    set_name = set_name or "test"
    cuts_path = cuts or recipe.data / set_name / "cuts.jsonl.gz"
    if not cuts_path.exists():
        fix = "give the path of a manifest" if cuts else "run stage 1, or choose another --set-name"
        raise DataError(f"{cuts_path}: missing", fix)
    if model is not None:
        checkpoint = model / "final.pt" if model.is_dir() else model
    checkpoint = checkpoint or recipe.exp / str(name) / "final.pt"
    torch.set_num_threads(num_threads)
    embedder = Embedder.of(checkpoint)
    if name is not None:
        check_same_model(checkpoint, embedder.config, recipe.exp / name)
    out = out or recipe.exp / str(name) / f"embeddings_{set_name}"
    log_to(out / "log" / "embed.log")
    outputs = [out / "utterances.npz", out / "speakers.npz"]
    stamp = Stamp(out / ".embed.stamp", [cuts_path, checkpoint], {}, outputs, version=EMBED_VERSION)
    label = f"{name or model} {cuts or set_name}"
    if not recipe.force and stamp.is_current():
        log.info("embed %s: up to date", label)
        return
    with stamp.making():
        _embed(embedder, cuts_path, outputs, label)


def _check_choice(
    name: str | None,
    model: Path | None,
    set_name: str | None,
    cuts: Path | None,
    out: Path | None,
    checkpoint: Path | None,
) -> None:
    """Check that one model and one set are named, and where the output goes."""
    if (name is None) == (model is None):
        raise ConfigError(
            "--name and --model: give one of the two",
            "name a directory under exp/ with --name, or the path of a model with --model",
        )
    if set_name is not None and cuts is not None:
        raise ConfigError("--set-name and --cuts: give one of the two", "drop --set-name")
    if model is not None and checkpoint is not None:
        raise ConfigError(
            "--checkpoint: is one of a model of --name", "give the checkpoint as --model"
        )
    if out is None and (model is not None or cuts is not None):
        raise ConfigError(
            f"{'--cuts' if model is None else '--model'}: --out is missing",
            "name the directory to write to with --out",
        )


def _embed(embedder: Embedder, cuts_path: Path, outputs: Sequence[Path], label: str) -> None:
    from asrlib.data.cuts import iter_cuts
    from asrlib.speakers.embedder import speaker_table

    begin = time.perf_counter()
    cuts = list(iter_cuts(cuts_path, "write it again; for a set, run stage 1 again with --force"))
    seconds = sum(cut.duration for cut in cuts)
    try:
        utterances = embedder.cuts(cuts)
    except DataError as e:
        raise DataError(f"{cuts_path}: {e.what}", e.fix) from e
    speakers = speaker_table(utterances)
    utterances.write(outputs[0])
    speakers.write(outputs[1])
    log.info(
        "embed %s: %d of %d utterances, %d speakers, %.0f s of audio per s",
        label,
        len(utterances.finite().ids),
        len(utterances.ids),
        len(speakers.ids),
        seconds / (time.perf_counter() - begin),
    )

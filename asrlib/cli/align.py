"""`python -m asrlib align`: words with times, by forced alignment with a model's CTC layer."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.errors import ConfigError, DataError, UserError
from asrlib.recipe import Recipe

if TYPE_CHECKING:
    from asrlib.experiments.align import AlignedCut

log = logging.getLogger(__name__)


@click.command("align")
@click.option("--name", required=True, help="The model: a directory under exp/.")
@click.option("--test-set", default="test", show_default=True, help="A set under data/.")
@click.option(
    "--lag-ms",
    type=float,
    default=0.0,
    show_default=True,
    help="Milliseconds by which the model's CTC layer is late; they are subtracted from all times.",
)
@click.option(
    "--as-set",
    metavar="SET",
    help="Also write data/SET/cuts.jsonl.gz, whose words have the times found; decode and score"
    " this set to measure latency where the corpus has no word times.",
)
@recipe_options
def command(recipe: Recipe, name: str, test_set: str, lag_ms: float, as_set: str | None) -> None:
    """Align the transcripts of data/SET; write words.ctm and a TextGrid for each utterance.

    A CTC layer marks each piece in one or two frames, so a word begins and ends with the marks of
    its first and last piece: its end tells when the word was over, its length little.

    The files go to exp/NAME/align_SET/. The words of private utterances are written there as ***.
    If the set has word times of its own, the median lag of the alignment is shown, which --lag-ms
    can then take off. An utterance that cannot be aligned is named on stderr, the others are still
    aligned, and the exit status is 1.
    """
    import torch

    from asrlib.data.cuts import read_cuts
    from asrlib.experiments.align import CtcAligner, align_cuts, lag_of

    if as_set is not None and (as_set.startswith("test") or (recipe.data / as_set).exists()):
        _check_new(recipe, as_set)
    checkpoint = recipe.exp / name / "final.pt"
    if not checkpoint.exists():
        raise UserError(f"{checkpoint}: missing", "train the model first (stage 4)")
    out = recipe.exp / name / f"align_{test_set}"
    log_to(out / "log" / "align.log")
    torch.set_num_threads(1)
    cuts = read_cuts(recipe.data / test_set / "cuts.jsonl.gz", "run stage 1 first")
    aligned = list(align_cuts(CtcAligner(checkpoint, lag_ms / 1000), cuts))
    done = [one for one in aligned if one.failure is None]
    for one in aligned:
        if one.failure is not None:
            click.echo(f"error: {one.failure}", err=True)
    if not done:
        raise DataError(f"{test_set}: no utterance could be aligned", "see the reasons above")
    _write(out, done)
    log.info("%s: %d utterances, %d words", out, len(done), sum(len(one.words) for one in done))
    if lag := lag_of(done):
        log.info(
            "word ends lie %.0f ms (median; quartiles %.0f and %.0f) after the set's own times, "
            "over %d words",
            *(lag.median, lag.quarter, lag.three_quarters, lag.words),
        )
    if as_set is not None:
        _write_set(recipe.data / as_set / "cuts.jsonl.gz", done)
    if len(done) < len(aligned):
        sys.exit(1)


def _check_new(recipe: Recipe, as_set: str) -> None:
    """Refuse a name that stage 5 would take for a test set, or of a set that another stage made."""
    if as_set.startswith("test"):
        raise ConfigError(
            f"--as-set {as_set}: every set test* is decoded by stage 5",
            f"choose another name, such as aligned_{as_set}",
        )
    if not (recipe.data / as_set / ".aligned").exists():
        raise ConfigError(
            f"--as-set {as_set}: {recipe.data / as_set} was not made by align",
            "choose the name of a new set",
        )


def _write(out: Path, aligned: list[AlignedCut]) -> None:
    from asrlib.files import atomic_write, file_name
    from asrlib.text.alignment_files import ctm_lines, textgrid

    with atomic_write(out / "words.ctm") as f:
        for one in sorted(aligned, key=lambda a: a.cut.id):
            f.writelines(line + "\n" for line in ctm_lines(one.cut.id, one.shown))
    for one in aligned:
        with atomic_write(out / "textgrid" / file_name(one.cut.id, ".TextGrid")) as f:
            f.write(textgrid(one.shown, one.cut.duration))


def _write_set(path: Path, aligned: list[AlignedCut]) -> None:
    from lhotse import CutSet

    from asrlib.files import atomic_path

    with atomic_path(path) as part:
        CutSet.from_cuts(one.with_alignment() for one in aligned).to_file(part)
    (path.parent / ".aligned").touch()
    log.info("%s: written; decode and score it with --test-set %s", path, path.parent.name)

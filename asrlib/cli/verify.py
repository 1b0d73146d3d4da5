"""`python -m asrlib verify`: whether two recordings are of one speaker."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="verify")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[MODEL] FIRST SECOND")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="The speaker model, instead of the first argument.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(-1.0, 1.0),
    help="Smallest score of one speaker; by default the one at the dev speakers' equal error rate.",
)
def command(paths: tuple[Path, ...], model: Path | None, threshold: float | None) -> None:
    """Score whether FIRST and SECOND, two audio files, are of the same speaker.

    MODEL is a speaker model: a final.pt, or the directory that holds it. The score is the cosine of
    the two embeddings, from -1 to 1. With a threshold, the decision is printed too.
    """
    given = paths if model is None else (model, *paths)
    if len(given) != 3:
        raise click.UsageError(
            "give a model and two audio files: verify MODEL FIRST SECOND, or verify --model MODEL "
            "FIRST SECOND"
        )
    model, first, second = given
    from asrlib.speakers.embedder import Embedder, cosine

    embedder = Embedder.of(model)
    score = cosine(embedder.file(first), embedder.file(second))
    threshold = embedder.threshold if threshold is None else threshold
    if threshold is None:
        click.echo(f"score {score:.4f}")
        click.echo("the model holds no threshold: give --threshold for a decision", err=True)
        return
    decision = "same speaker" if score >= threshold else "different speakers"
    click.echo(f"score {score:.4f}, threshold {threshold:.4f}: {decision}")

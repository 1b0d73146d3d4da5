"""`python -m asrlib bench embedding`: how fast a speaker model embeds."""

from __future__ import annotations

import time

import click

from asrlib.cli.bench_report import cuts_of, report, rounds_option
from asrlib.cli.common import log_to, recipe_options
from asrlib.recipe import Recipe


@click.command()
@click.option("--name", required=True, help="The speaker model: a directory under exp/.")
@click.option("--test-set", default="test", show_default=True, help="A set under data/.")
@click.option("--utterances", default=100, show_default=True, help="Utterances to take from it.")
@rounds_option
@recipe_options
def embedding(recipe: Recipe, name: str, test_set: str, utterances: int, rounds: int) -> None:
    """Measure seconds of audio that a speaker model embeds per CPU second, on one core.

    Reading the audio and computing the features are included.
    """
    import torch

    from asrlib.experiments.benchmarks import Benchmark
    from asrlib.speakers.embedder import Embedder

    log_to(None)
    torch.set_num_threads(1)
    cuts = list(cuts_of(recipe, test_set, utterances))
    embedder = Embedder.of(recipe.exp / name / "final.pt")
    seconds = sum(cut.duration for cut in cuts)
    taken = []
    for _ in range(rounds):
        begin = time.process_time()
        embedder.cuts(cuts)
        taken.append(time.process_time() - begin)
    measured = Benchmark(
        model=name, set=test_set, audio_seconds=seconds, embedding=seconds / min(taken)
    )
    report(recipe, f"embedding_{name}_{test_set}", measured)

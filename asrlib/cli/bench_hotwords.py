"""`python -m asrlib bench hotwords`: recall of rare words with hotwords, and what it costs."""

from __future__ import annotations

import click

from asrlib.cli.bench_report import rounds_option
from asrlib.cli.common import command_line, log_to, recipe_options
from asrlib.recipe import Recipe

_OWN = ("name", "test_set", "words", "timed", "rounds")


@click.command()
@click.option("--name", default="conv_rnnt", show_default=True, help="A directory under exp/.")
@click.option("--test-set", default="dev", show_default=True, help="A set under data/.")
@click.option("--words", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--timed", type=click.IntRange(min=2), default=32, show_default=True)
@rounds_option
@recipe_options
def hotwords(recipe: Recipe, name: str, test_set: str, words: int, timed: int, rounds: int) -> None:
    """Measure the recall of rare words with hotwords, and the false alarms and time they cost.

    The hotwords are the WORDS words of the set that training has least often. The whole set is
    decoded by modified beam search without and with them; TIMED utterances are decoded in turn to
    compare real-time factors on one core. Language models of decode.lm are used in both, but not
    in the decoding that the time is compared with. The figures go to results/hotwords/ of the
    recipe, a row for each model, set and boost (decode.hotwords.boost); the words are only shown.
    """
    import torch

    from asrlib.data.cuts import read_cuts
    from asrlib.experiments.hotword_bench import measure_hotwords
    from asrlib.experiments.hotword_record import Hotwords, row_of
    from asrlib.experiments.store import HOTWORDS_PLAN, plan_dir, read_plan, write_about
    from asrlib.report.format import number
    from asrlib.report.results_page import write_pages
    from asrlib.streaming.decode_files import located
    from asrlib.streaming.settings import DecodeConfig

    log_to(None)
    torch.set_num_threads(1)
    chosen = Recipe(recipe.dir, (*recipe.overrides, "decode.search=modified_beam"))
    config = chosen.config(DecodeConfig, "decode")
    train, cuts = (
        read_cuts(recipe.data / one / "cuts.jsonl.gz", "run stage 1, or choose another set")
        for one in ("train", test_set)
    )
    checkpoint = recipe.exp / name / "final.pt"
    texts = [cut.supervisions[0].text or "" for cut in train]
    used = located(config, recipe.dir)
    gain = measure_hotwords(checkpoint, used, texts, cuts, words, timed, rounds)
    row = row_of(gain, name, test_set, config, command_line(recipe, *_OWN))
    found = Hotwords(rows=(row,)).joined(read_plan(recipe.dir, HOTWORDS_PLAN).hotwords)
    write_about(recipe.dir, HOTWORDS_PLAN, found)
    write_pages(recipe.dir)
    click.echo(f"hotwords: {', '.join(gain.hotwords)}")
    click.echo(
        f"recognised {row.found} of {row.said} (without hotwords {row.found_without}), false alarms"
        f" {row.alarms} ({row.alarms_without}), WER {number(row.wer, 2)} %"
        f" ({number(row.wer_without, 2)} %), real-time factor {row.real_time_factor:.3f},"
        f" {row.real_time_ratio:.2f} times that of the search alone"
    )
    click.echo(f"written to {plan_dir(recipe.dir, HOTWORDS_PLAN)}")

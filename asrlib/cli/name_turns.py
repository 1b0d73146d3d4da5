"""`python -m asrlib name-turns`: name the turns of decoded mixtures by voice."""

from __future__ import annotations

from pathlib import Path

import click

from asrlib.cli.common import log_to, recipe_options, search_option
from asrlib.recipe import Recipe
from asrlib.searches import SEARCHES


@click.command(name="name-turns")
@click.option("--name", required=True, help="The model of several talkers: a directory under exp/.")
@click.option("--test-set", default="mix_test", show_default=True, help="The decoded mixtures.")
@search_option(about="with which the set was decoded", default=SEARCHES[0])
@click.option("--speaker-model", required=True, help="The speaker model: a directory under exp/.")
@click.option(
    "--speaker-threshold",
    type=float,
    help="Least cosine between a turn and its speaker; by default the model's dev threshold.",
)
@recipe_options
def command(
    recipe: Recipe,
    name: str,
    test_set: str,
    search: str,
    speaker_model: str,
    speaker_threshold: float | None,
) -> None:
    """Name the turns of decoded mixtures by voice, and compare cpWER with channels as names.

    Writes turns_by_voice.seglst.json and voices.json to exp/NAME/decode_SET_SEARCH/.
    """
    from asrlib.data.cuts import read_cuts
    from asrlib.experiments.turn_voices import name_decoded_turns
    from asrlib.speakers.turn_names import Voices

    decode_dir: Path = recipe.exp / name / f"decode_{test_set}_{search}"
    log_to(decode_dir / "log" / "name_turns.log")
    set_dir = recipe.data / test_set
    cuts = read_cuts(set_dir / "cuts.jsonl.gz", "run `python -m asrlib mixtures` first")
    voices = Voices.of(recipe.exp / speaker_model, speaker_threshold)
    found = name_decoded_turns(decode_dir, set_dir, cuts, voices, recipe.exp / speaker_model)
    ends = found.cpwer.interval
    interval = f" [{ends.low:+.2f}, {ends.high:+.2f}]" if ends else ""
    click.echo(f"cpWER with channels as names: {found.cpwer.a.line()}")
    click.echo(f"cpWER with voices as names:   {found.cpwer.b.line()}")
    click.echo(f"difference {found.cpwer.difference:+.2f}{interval} points; {found.turns} turns")

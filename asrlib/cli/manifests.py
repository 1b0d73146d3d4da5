"""`python -m asrlib manifests`: stage 1, check the audio and write the manifests."""

from __future__ import annotations

import logging

import click

from asrlib.cli.common import log_to, stage_options
from asrlib.data.manifests import MANIFESTS_VERSION, audio_digest, judge, write_manifests
from asrlib.data.raw import raw_sets, raw_table
from asrlib.data.validation import ValidationConfig
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp
from asrlib.text.normalise import normalise


@click.command("manifests")
@stage_options
@click.option("--nj", default=2, show_default=True, type=click.IntRange(1), help="Number of jobs.")
def command(recipe: Recipe, nj: int) -> None:
    """Read every audio file of data/raw once; write cuts, speakers.tsv and quarantine.tsv."""
    log_to(recipe.data / "log" / "manifests.log")
    config = recipe.config(ValidationConfig, "manifests")
    base = recipe.dir.resolve()
    tables = raw_sets(recipe.data / "raw")
    sets = {name: raw_table(path) for name, path in tables.items()}
    outputs = [recipe.data / name / "cuts.jsonl.gz" for name in sets]
    outputs += [recipe.data / "speakers.tsv", recipe.data / "quarantine.tsv"]
    stamp = Stamp(
        recipe.data / "manifests.stamp",
        inputs=list(tables.values()),
        config={"validation": config, "audio": audio_digest(sets, base), "sets": sorted(sets)},
        outputs=outputs,
        version=MANIFESTS_VERSION,
    )
    if not recipe.force and stamp.is_current():
        logging.info("manifests: up to date")
        return
    with stamp.making():
        write_manifests(judge(sets, base, normalise, config, nj), sets, recipe.data, config)

"""`python -m asrlib mixtures`: make test sets of overlapping talkers for stage 7."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from asrlib.cli.common import log_to, stage_options
from asrlib.recipe import Recipe


@click.command("mixtures")
@stage_options
def command(recipe: Recipe) -> None:
    """Mix every set of conf/mixtures.yaml into data/mix_SET: audio, cuts, reference turns."""
    from asrlib.data.cuts import read_cuts
    from asrlib.data.mixing import Mixer
    from asrlib.data.mixture_sets import FILES, MIXTURES_VERSION, PLAN_FILE, plan_sets, write_set
    from asrlib.data.mixtures import MixtureConfig, MixturePlanner, digest
    from asrlib.data.reference_turns import REFERENCE_FILES
    from asrlib.errors import DataError
    from asrlib.stamps import Stamp

    log_to(recipe.data / "log" / "mixtures.log")
    config = recipe.config(MixtureConfig, "mixtures")
    for name in config.sets:
        source, out = recipe.data / name / "cuts.jsonl.gz", recipe.data / f"mix_{name}"
        outputs = [out / file for file in (*FILES, *REFERENCE_FILES)]
        given = [Path(config.impulse_responses)] if config.impulse_responses else []
        stamp = Stamp(
            recipe.data / f"mix_{name}.stamp",
            [source, *given],
            config.of_sets(),
            outputs,
            version=MIXTURES_VERSION,
        )
        if not recipe.force and stamp.is_current():
            logging.info("mixtures %s: up to date", name)
            continue
        if (out / FILES[0]).exists() and not (out / PLAN_FILE).exists():
            raise DataError(
                f"{out}: holds recordings that this command did not mix and would replace",
                "run steps/make_mixtures.sh, which uses the recipe's own, or remove the directory",
            )
        cuts = read_cuts(source, "run stage 1 first, with --force if it was cut short")
        with stamp.making():
            plans = plan_sets(MixturePlanner(cuts, config, str(source)), name)
            write_set(out, plans, Mixer(cuts, config))
        logging.info(
            "mix_%s: %d mixtures, %.1f minutes, manifest %s",
            *(name, len(plans), sum(p.duration for p in plans) / 60, digest(plans)[:16]),
        )

"""`python -m asrlib tune-decode`: choose settings of decoding on dev, without any training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import click

from asrlib.cli.common import log_to, search_option, stage_options, tag_option
from asrlib.config import as_override, split_override
from asrlib.errors import ConfigError, UserError
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp

log = logging.getLogger(__name__)


def _grid(_: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    grid = dict(split_override(word) for word in given)
    for key, values in grid.items():
        if not key.startswith("decode.") or not isinstance(values, list) or not values:
            raise ConfigError(
                f"--try {key}: no list of values of a key of decoding",
                "write for example --try decode.lm.scale=[0.1,0.2,0.4]",
            )
    return grid


@click.command("tune-decode")
@click.option("--name", required=True, help="The model: a directory under exp/.")
@click.option("--on", "test_set", default="dev", show_default=True, help="The set that chooses.")
@search_option(about="for which settings are chosen", default="modified_beam")
@tag_option(about="Name of the settings; decode --tag NAME --tuned then uses them.")
@click.option(
    "--try",
    "grid",
    multiple=True,
    required=True,
    callback=_grid,
    metavar="decode.KEY=[V,...]",
    help="Values of a key; may be repeated. The keys are tuned in this order.",
)
@stage_options
def command(
    recipe: Recipe, name: str, test_set: str, search: str, tag: str | None, grid: dict[str, Any]
) -> None:
    """Decode dev with several values of settings of decoding, and keep the best.

    The result is exp/NAME/tuned_SEARCH_TAG.json. One key after another is tried with all of its
    values. The test set is never decoded here.
    """
    import torch

    from asrlib.data.cuts import read_cuts
    from asrlib.experiments.tune_decode import tune, tuned_file
    from asrlib.streaming.batch import DECODE_VERSION
    from asrlib.streaming.decode_files import decode_files, located
    from asrlib.streaming.settings import DecodeConfig
    from asrlib.training.dev_wer import dev_wer
    from asrlib.transducer.model_io import load_transducer

    if tag is None:
        raise ConfigError("--tag is missing", "name the settings, for example --tag lm")
    if test_set.startswith("test"):
        raise ConfigError(f"--on {test_set}: a test set must not choose", "choose on dev")

    def config(settings: Mapping[str, Any]) -> DecodeConfig:
        own = tuple(as_override(key, value) for key, value in settings.items())
        overrides = (*recipe.overrides, f"decode.search={search}", *own)
        return Recipe(recipe.dir, overrides).config(DecodeConfig, "decode")

    # An unknown key or value fails before any decoding.
    tried = [config({key: value}) for key, values in grid.items() for value in values]
    base = config({})
    checkpoint = recipe.exp / name / "final.pt"
    if not checkpoint.exists():
        raise UserError(f"{checkpoint}: missing", "train the model first (stage 4)")
    cuts_path = recipe.data / test_set / "cuts.jsonl.gz"
    cuts = read_cuts(cuts_path, "run stage 1 first")
    out = tuned_file(recipe.exp / name, search, tag)
    log_to(recipe.exp / name / "log" / "tune_decode.log")
    read = {path for one in (base, *tried) for path in decode_files(one, recipe.dir).values()}
    inputs = [cuts_path, checkpoint, *sorted(read)]
    stamp = Stamp(out.with_suffix(".stamp"), inputs, [base, grid], [out], version=DECODE_VERSION)
    if not recipe.force and stamp.is_current():
        log.info("%s: up to date", out)
        return
    torch.set_num_threads(base.num_threads)
    model, tokenizer, fbank, _ = load_transducer(checkpoint)

    def judge(settings: Mapping[str, Any]) -> float:
        decode = located(config(settings), recipe.dir)
        wer = 100 * dev_wer(cuts, len(cuts), tokenizer, fbank, decode)(model)["wer"]
        shown = ", ".join(f"{key}={value}" for key, value in settings.items())
        log.info("%s %s: WER %.2f %%, %s", name, test_set, wer, shown)
        return wer

    with stamp.making():
        found = tune(grid, judge, test_set)
        found.to_file(out)
    log.info("%s: %s", out, found.chosen)

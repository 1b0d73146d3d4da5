"""`python -m asrlib decode`: stage 5, streaming decoding of a test set."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asrlib.cli.common import (
    log_to,
    membership_option,
    search_option,
    stage_options,
    tag_option,
)
from asrlib.cohort_file import COHORTS_FILE
from asrlib.config import as_override
from asrlib.errors import ConfigError, DataError, UserError
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp

if TYPE_CHECKING:
    from asrlib.streaming.settings import DecodeConfig

log = logging.getLogger(__name__)


@click.command(name="decode")
@click.option("--name", required=True, help="The model: a directory under exp/.")
@click.option("--test-set", default="test", show_default=True, help="A set under data/.")
@search_option(about="instead of decode.search")
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A checkpoint of the same model to use instead of exp/NAME/final.pt.",
)
@membership_option(
    about="What a model that knows cohorts is told about each speaker: the true cohort, the one"
    " found from the utterance alone, or that it is unknown. The default is true if --cohorts is"
    " given."
)
@click.option(
    "--cohorts",
    type=click.Path(file_okay=False, path_type=Path),
    help="The cohort directory of --membership true, for example exp/cohorts/tree; of found,"
    " its by_utterance.",
)
@tag_option(
    about="Name of the settings of decoding; it becomes part of the directory's name and of the"
    " row in tables. Needed with a language model or hotwords, for example lm."
)
@click.option(
    "--tuned", is_flag=True, help="Use the settings that tune-decode chose for this --tag."
)
@stage_options
def command(
    recipe: Recipe,
    name: str,
    test_set: str,
    search: str | None,
    checkpoint: Path | None,
    membership: str | None,
    cohorts: Path | None,
    tag: str | None,
    tuned: bool,
) -> None:
    """Decode data/SET in streaming mode; write hyp.jsonl and meta.json.

    The files go to exp/NAME/decode_SET_SEARCH/, with --membership true to
    decode_SET_SEARCH_true_cohorts/ (found: found_cohorts), and with --tag to
    decode_SET_SEARCH_TAG/. For a model of several talkers, their turns are written to
    turns.seglst.json instead of hyp.jsonl. Paths of language models and hotwords are relative to
    the recipe's directory. With these or --tuned, the search is modified_beam unless another one
    is given.
    """
    from asrlib.experiments.decode import META_FILE, decode_set
    from asrlib.scoring.records import HYP_FILE, Told, decode_dir_name
    from asrlib.streaming.batch import DECODE_VERSION
    from asrlib.streaming.decode_files import decode_files
    from asrlib.streaming.settings import DecodeConfig
    from asrlib.text.turns import TURNS_FILE

    recipe = _with_search(recipe, search, recipe.config(DecodeConfig, "decode"), tuned)
    config = recipe.config(DecodeConfig, "decode")
    if tuned:
        recipe = _with_tuned(recipe, name, config.search, tag)
        config = recipe.config(DecodeConfig, "decode")
    if tag is None and (config.lm.in_use or config.hotwords.in_use):
        raise ConfigError(
            "decode.lm, decode.hotwords: a decoding with a language model or hotwords needs a name",
            "add --tag, for example --tag lm",
        )
    cuts_path = recipe.data / test_set / "cuts.jsonl.gz"
    if not cuts_path.exists():
        stage = 7 if test_set.startswith("mix_") else 1
        raise DataError(f"{cuts_path}: missing", f"run stage {stage}, or choose another --test-set")
    checkpoint = checkpoint or recipe.exp / name / "final.pt"
    if not checkpoint.exists():
        raise UserError(f"{checkpoint}: missing", "train the model first (stage 4)")
    cohort_dir = _cohort_dir(membership, cohorts)
    kind: Told = "found" if membership == "found" else "true"
    told = None if cohort_dir is None else kind
    out = recipe.exp / name / decode_dir_name(test_set, config.search, told, tag)
    log_to(out / "log" / "decode.log")
    # The model decides which of the two files exists; with a current stamp it need not be loaded.
    found = next((out / n for n in (TURNS_FILE, HYP_FILE) if (out / n).exists()), out / HYP_FILE)
    outputs = [found, out / META_FILE]
    inputs = [cuts_path, checkpoint, *decode_files(config, recipe.dir).values()]
    if cohort_dir is not None:
        inputs.append(cohort_dir / COHORTS_FILE)
    stamp = Stamp(out / ".decode.stamp", inputs, config, outputs, version=DECODE_VERSION)
    title = f"decode {name} {test_set} {config.search}" + (f", {told} cohorts" if told else "")
    title += f", {tag}" if tag else ""
    if not recipe.force and stamp.is_current():
        log.info("%s: up to date", title)
        return
    with stamp.making():
        cost = decode_set(
            cuts_path,
            checkpoint,
            config,
            out,
            name,
            test_set,
            cohort_dir,
            tag,
            recipe.dir,
            told=told,
        )
    log.info(
        "%s: %.0f s of audio, real-time factor %.4f", title, cost.audio_seconds, cost.real_time
    )


def _with_search(recipe: Recipe, search: str | None, config: DecodeConfig, tuned: bool) -> Recipe:
    """Return the recipe with the search that is to be used.

    Without --search it is decode.search; if this is not set on the command line either, and tuned
    settings, a language model or hotwords are to be used, it is modified_beam.
    """
    given = any(override.startswith("decode.search=") for override in recipe.overrides)
    if search is None and not given and (tuned or config.lm.in_use or config.hotwords.in_use):
        search = "modified_beam"
    if search is None:
        return recipe
    return Recipe(recipe.dir, (*recipe.overrides, f"decode.search={search}"), recipe.force)


def _with_tuned(recipe: Recipe, name: str, search: str, tag: str | None) -> Recipe:
    """Return the recipe with the settings that were chosen on dev.

    Raises:
        ConfigError: there is no tag.
        DataError: nothing was chosen for this tag.
    """
    from asrlib.experiments.tune_decode import read_tuned

    if tag is None:
        raise ConfigError("--tuned: settings have a name", "add --tag as for tune-decode")
    chosen = read_tuned(recipe.exp / name, search, tag).chosen
    own = tuple(as_override(key, value) for key, value in chosen.items())
    return Recipe(recipe.dir, (*recipe.overrides, *own), recipe.force)


def _cohort_dir(membership: str | None, cohorts: Path | None) -> Path | None:
    """Return the directory that says each speaker's cohort; None if the model is told nothing.

    Raises:
        ConfigError: cohorts are to be told, but no directory is given.
    """
    if membership in ("true", "found") and cohorts is None:
        raise ConfigError(
            f"--membership {membership}: no cohorts are given",
            "add --cohorts with a directory that holds cohorts.jsonl",
        )
    return None if membership == "unknown" else cohorts

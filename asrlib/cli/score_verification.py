"""`python -m asrlib score-verification`: score speaker verification from embeddings."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import click

from asrlib.cli.common import log_to, stage_options
from asrlib.errors import ConfigError
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp

log = logging.getLogger(__name__)

_FILE = click.Path(dir_okay=False, path_type=Path)
_DIR = click.Path(file_okay=False, path_type=Path)


@click.command(name="score-verification")
@click.option("--name", required=True, help="The system: a directory under exp/.")
@click.option(
    "--test-set",
    "test_sets",
    default=["test"],
    show_default=True,
    multiple=True,
    help="The embedded test set. May be repeated, for a list of trials that spans several.",
)
@click.option(
    "--dev-set", default="dev", show_default=True, help="The set that fixes the threshold."
)
@click.option("--threshold", type=float, help="The threshold; the dev set is then not read.")
@click.option(
    "--embeddings",
    type=_FILE,
    help="Embeddings of the tests; by default exp/NAME/embeddings_SET/utterances.npz of each set.",
)
@click.option("--dev-embeddings", type=_FILE, help="The same for the dev set.")
@click.option("--trials", type=_FILE, help="List of test trials in VoxCeleb's format.")
@click.option("--dev-trials", type=_FILE, help="List of dev trials in VoxCeleb's format.")
@click.option(
    "--cohorts",
    type=_DIR,
    multiple=True,
    help="Directory with cohorts.jsonl, by whose cohorts errors are given, too. May be repeated.",
)
@click.option(
    "--out",
    type=_DIR,
    help="Output directory; by default exp/NAME/verify_SET; with --trials LIST.txt, verify_LIST.",
)
@click.option(
    "--scores/--no-scores",
    default=True,
    show_default=True,
    help="Write scores.npz, which compare-verification reads.",
)
@stage_options
def command(
    recipe: Recipe,
    name: str,
    test_sets: tuple[str, ...],
    dev_set: str,
    threshold: float | None,
    embeddings: Path | None,
    dev_embeddings: Path | None,
    trials: Path | None,
    dev_trials: Path | None,
    cohorts: tuple[Path, ...],
    out: Path | None,
    scores: bool,
) -> None:
    """Score verification: EER, misses and false alarms by group at one threshold from dev.

    Writes verification.json and scores.npz. The kind of the trials is verification.trials; a file
    of --trials is used as it is.
    """
    from asrlib.cohort_file import COHORTS_FILE
    from asrlib.experiments.run_record import identity_in
    from asrlib.experiments.verify import dev_threshold, read_source, with_list
    from asrlib.scoring.score import read_config
    from asrlib.verification.config import VerificationConfig
    from asrlib.verification.groups import column_maker
    from asrlib.verification.records import Threshold
    from asrlib.verification.score import (
        VERIFICATION_FILE,
        VERIFICATION_VERSION,
        judge,
        score_trials,
    )
    from asrlib.verification.scores import SCORES_FILE
    from asrlib.verification.text import verification_text

    test_set = "+".join(test_sets) if trials is None else trials.stem
    if trials is not None and out is None and (recipe.data / trials.stem).is_dir():
        raise ConfigError(
            f"--trials {trials}: its results would replace those of the set {trials.stem}",
            "name another directory with --out, or rename the list",
        )
    out = out or recipe.exp / name / f"verify_{test_set}"
    tests = [embeddings] if embeddings else [_table(recipe, name, one) for one in test_sets]
    dev = dev_embeddings or _table(recipe, name, dev_set)
    log_to(out / "log" / "score_verification.log")
    config = recipe.config(VerificationConfig, "verification")
    score = read_config(recipe)
    fixed_by_dev = threshold is None and (dev_embeddings is not None or dev.exists())
    others = [*_set_files(recipe, *test_sets), trials, *(one / COHORTS_FILE for one in cohorts)]
    others += [dev, *_set_files(recipe, dev_set), dev_trials] if fixed_by_dev else []
    stamp = Stamp(
        path=out / ".score_verification.stamp",
        inputs=[*tests, *(path for path in others if path is not None and path.exists())],
        config=[name, test_set, config, score, threshold, trials is None, dev_trials is None],
        outputs=[out / VERIFICATION_FILE, *([out / SCORES_FILE] if scores else [])],
        version=VERIFICATION_VERSION,
    )
    if not recipe.force and stamp.is_current():
        log.info("score-verification %s %s: up to date", name, test_set)
        return
    fixed = None if threshold is None else Threshold(value=threshold, rule="given")
    if fixed_by_dev:
        fixed = dev_threshold(recipe, dev, dev_set, dev_trials, config)
    elif fixed is None:
        log.warning("%s: missing, so no threshold is fixed; embed %s first", dev, dev_set)
    source, unusable = read_source(recipe, tests, test_sets, trials, config)
    config, table = with_list(config, trials), recipe.data / "speakers.tsv"
    columns = column_maker(table, test_sets[0], score.groups, score.bands, cohorts)
    scored = score_trials(source, config, " and ".join(map(str, tests)))
    found = judge(scored, fixed, columns, config, score.min_speakers, name, test_set, unusable)
    if embeddings is None:
        found = dataclasses.replace(found, run=identity_in(recipe.exp / name))
    with stamp.making():
        found.to_file(out / VERIFICATION_FILE)
        if scores:
            scored.write(out / SCORES_FILE)
    click.echo(verification_text(found))
    click.echo(f"written to {out / VERIFICATION_FILE}")


def _table(recipe: Recipe, name: str, set_name: str) -> Path:
    return recipe.exp / name / f"embeddings_{set_name}" / "utterances.npz"


def _set_files(recipe: Recipe, *set_names: str) -> list[Path]:
    cuts = [recipe.data / set_name / "cuts.jsonl.gz" for set_name in set_names]
    return [*cuts, recipe.data / "speakers.tsv"]

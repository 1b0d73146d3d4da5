"""`python -m asrlib score-verification`: score speaker verification from embeddings."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asrlib.cli.common import log_to, recipe_options
from asrlib.recipe import Recipe
from asrlib.stamps import Stamp

if TYPE_CHECKING:
    from asrlib.verification.config import VerificationConfig
    from asrlib.verification.records import Threshold
    from asrlib.verification.score import TrialSource

log = logging.getLogger(__name__)

_FILE = click.Path(dir_okay=False, path_type=Path)
_DIR = click.Path(file_okay=False, path_type=Path)


@click.command(name="score-verification")
@click.option("--name", required=True, help="The system: a directory under exp/.")
@click.option("--test-set", default="test", show_default=True, help="The embedded test set.")
@click.option(
    "--dev-set", default="dev", show_default=True, help="The set that fixes the threshold."
)
@click.option("--threshold", type=float, help="The threshold; the dev set is then not read.")
@click.option(
    "--embeddings",
    type=_FILE,
    help="Embeddings of the test set; by default exp/NAME/embeddings_SET/utterances.npz.",
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
@click.option("--out", type=_DIR, help="Output directory; by default exp/NAME/verify_SET.")
@click.option(
    "--scores/--no-scores",
    default=True,
    show_default=True,
    help="Write scores.npz, which compare-verification reads.",
)
@recipe_options
def command(
    recipe: Recipe,
    name: str,
    test_set: str,
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
    from asrlib.scoring.score import ScoreConfig
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

    out = out or recipe.exp / name / f"verify_{test_set}"
    test = embeddings or recipe.exp / name / f"embeddings_{test_set}" / "utterances.npz"
    dev = dev_embeddings or recipe.exp / name / f"embeddings_{dev_set}" / "utterances.npz"
    log_to(out / "log" / "score_verification.log")
    config = recipe.config(VerificationConfig, "verification")
    score = recipe.config(ScoreConfig, "score")
    fixed_by_dev = threshold is None and (dev_embeddings is not None or dev.exists())
    others = [*_set_files(recipe, test_set), trials, *(one / COHORTS_FILE for one in cohorts)]
    others += [dev, *_set_files(recipe, dev_set), dev_trials] if fixed_by_dev else []
    stamp = Stamp(
        path=out / ".score_verification.stamp",
        inputs=[test, *(path for path in others if path is not None and path.exists())],
        config=[name, test_set, config, score, threshold, trials is None, dev_trials is None],
        outputs=[out / VERIFICATION_FILE, *([out / SCORES_FILE] if scores else [])],
        version=VERIFICATION_VERSION,
    )
    if not recipe.force and stamp.is_current():
        log.info("score-verification %s %s: up to date", name, test_set)
        return
    fixed = None if threshold is None else Threshold(value=threshold, rule="given")
    if fixed_by_dev:
        fixed = _dev_threshold(recipe, dev, dev_set, dev_trials, config)
    elif fixed is None:
        log.warning("%s: missing, so no threshold is fixed; embed %s first", dev, dev_set)
    source, unusable = read_source(recipe, test, test_set, trials, config)
    config, table = with_list(config, trials), recipe.data / "speakers.tsv"
    columns = column_maker(table, test_set, score.groups, score.bands, cohorts)
    scored = score_trials(source, config, str(test))
    found = judge(scored, fixed, columns, config, score.min_speakers, name, test_set, unusable)
    if embeddings is None:
        found = dataclasses.replace(found, run=identity_in(recipe.exp / name))
    with stamp.making():
        found.to_file(out / VERIFICATION_FILE)
        if scores:
            scored.write(out / SCORES_FILE)
    click.echo(verification_text(found))
    click.echo(f"written to {out / VERIFICATION_FILE}")


def _set_files(recipe: Recipe, set_name: str) -> list[Path]:
    return [recipe.data / set_name / "cuts.jsonl.gz", recipe.data / "speakers.tsv"]


def _dev_threshold(
    recipe: Recipe, dev: Path, dev_set: str, trials: Path | None, config: VerificationConfig
) -> Threshold:
    """Fix the threshold on the embeddings of a dev set."""
    from asrlib.verification.score import fix_threshold, score_trials

    source, _ = read_source(recipe, dev, dev_set, trials, config)
    config = with_list(config, trials)
    return fix_threshold(score_trials(source, config, str(dev)), config, str(dev))


def with_list(config: VerificationConfig, trials: Path | None) -> VerificationConfig:
    """Return the configuration, whose kind of trials is `list` if a list is given."""
    return config if trials is None else dataclasses.replace(config, trials="list")


def read_source(
    recipe: Recipe, path: Path, set_name: str, trials: Path | None, config: VerificationConfig
) -> tuple[TrialSource, int]:
    """Read what the trials of a set are made of.

    Args:
        recipe: the recipe; the cuts and the speaker table of its data are used if they exist.
        path: embeddings of the set.
        set_name: name of the set.
        trials: list of trials; None if there is none.
        config: configuration.

    Returns:
        The source, and the number of utterances without a usable embedding.
    """
    from asrlib.embedding_table import EmbeddingTable
    from asrlib.scoring.records import read_speakers
    from asrlib.verification.score import TrialSource, usable

    table = EmbeddingTable.read(path)
    kept = usable(table, str(path))
    sessions: dict[str, str] = {}
    values: dict[str, str] | None = None
    cuts = recipe.data / set_name / "cuts.jsonl.gz"
    if cuts.exists():
        sessions = cut_facts(cuts, config.session)
        values = cut_facts(cuts, config.enrol_attribute) if config.enrol_attribute else None
    else:
        log.info("%s: missing, so each utterance counts as a session of its own", cuts)
    metadata = read_speakers(recipe.data / "speakers.tsv", set_name)
    source = TrialSource(kept, sessions, values, metadata, trials)
    return source, len(table.ids) - len(kept.ids)


def cut_facts(path: Path, name: str) -> dict[str, str]:
    """Read one fact of each cut: `recording`, `text`, or a custom field.

    Returns:
        The facts by cut id, without the cuts that lack it.
    """
    from asrlib.data.cuts import iter_cuts

    facts = {}
    for cut in iter_cuts(path, "run the manifests stage (1) again"):
        spoken = cut.supervisions[0] if cut.supervisions else None
        custom = {**(cut.custom or {}), **((spoken and spoken.custom) or {})}
        known: Mapping[str, Any] = {
            **custom,
            "recording": cut.recording_id if cut.has_recording else None,
            "text": spoken.text if spoken else None,
        }
        if known.get(name) not in (None, ""):
            facts[cut.id] = str(known[name])
    if not facts:
        log.warning("%s: no cut has '%s'", path, name)
    return facts

"""`python -m asrlib score-verification`: score speaker verification from embeddings."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
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
@recipe_options
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

    test_set = "+".join(test_sets) if trials is None else trials.stem
    out = out or recipe.exp / name / f"verify_{test_set}"
    tests = [embeddings] if embeddings else [_table(recipe, name, one) for one in test_sets]
    dev = dev_embeddings or _table(recipe, name, dev_set)
    log_to(out / "log" / "score_verification.log")
    config = recipe.config(VerificationConfig, "verification")
    score = recipe.config(ScoreConfig, "score")
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
        fixed = _dev_threshold(recipe, dev, dev_set, dev_trials, config)
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


def _dev_threshold(
    recipe: Recipe, dev: Path, dev_set: str, trials: Path | None, config: VerificationConfig
) -> Threshold:
    """Fix the threshold on the embeddings of a dev set."""
    from asrlib.verification.score import fix_threshold, score_trials

    source, _ = read_source(recipe, [dev], [dev_set], trials, config)
    config = with_list(config, trials)
    return fix_threshold(score_trials(source, config, str(dev)), config, str(dev))


def with_list(config: VerificationConfig, trials: Path | None) -> VerificationConfig:
    """Return the configuration, whose kind of trials is `list` if a list is given."""
    return config if trials is None else dataclasses.replace(config, trials="list")


def read_source(
    recipe: Recipe,
    paths: Sequence[Path],
    set_names: Sequence[str],
    trials: Path | None,
    config: VerificationConfig,
) -> tuple[TrialSource, int]:
    """Read what the trials of one set or of several sets together are made of.

    Args:
        recipe: the recipe; the cuts and the speaker table of its data are used if they exist.
        paths: tables of the embeddings.
        set_names: names of the sets.
        trials: list of trials, which needs no facts of the cuts; None if there is none.
        config: configuration.

    Returns:
        The source, and the number of utterances without a usable embedding.
    """
    from asrlib.embedding_table import EmbeddingTable
    from asrlib.scoring.records import read_speakers
    from asrlib.verification.score import TrialSource, usable

    tables = {path: EmbeddingTable.read(path) for path in paths}
    kept = EmbeddingTable.joined([usable(table, str(path)) for path, table in tables.items()])
    sessions: dict[str, str] = {}
    values: dict[str, str] | None = None
    for name in set_names if trials is None else ():
        cuts = recipe.data / name / "cuts.jsonl.gz"
        if not cuts.exists():
            log.info("%s: missing, so each utterance counts as a session of its own", cuts)
            continue
        sessions |= cut_facts(cuts, config.session)
        if config.enrol_attribute:
            values = (values or {}) | cut_facts(cuts, config.enrol_attribute)
    metadata = read_speakers(recipe.data / "speakers.tsv", set_names[0])
    source = TrialSource(kept, sessions, values, metadata, trials)
    return source, sum(len(table.ids) for table in tables.values()) - len(kept.ids)


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

"""`python -m asrlib cohorts`: stage 9, find cohorts of speakers, judge them, assign speakers."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from asrlib.cli.common import log_to, recipe_options, search_option, stage_options
from asrlib.errors import DataError
from asrlib.recipe import Recipe
from asrlib.searches import SEARCHES

log = logging.getLogger(__name__)

_FILE = click.Path(dir_okay=False, path_type=Path)
_EMBEDDINGS = click.option(
    "--embeddings",
    "embeddings",
    type=_FILE,
    multiple=True,
    help="A file of speaker embeddings (python -m asrlib embed). May be repeated.",
)


@click.group(name="cohorts")
def command() -> None:
    """Find groups of speakers with higher error rates, and assign speakers to them."""


@command.command()
@click.option("--name", required=True, help="The model: a directory under exp/.")
@click.option(
    "--set-name", default="discovery", show_default=True, help="The decoded set to find them on."
)
@click.option(
    "--confirm",
    default="confirmation",
    show_default=True,
    help="The set whose speakers are assigned too, to be judged later; their errors are not read."
    " If it is SET_NAME, the speakers of that set are divided in halves.",
)
@search_option(about="with which the set was decoded", default=SEARCHES[0])
@click.option("--method", "methods", multiple=True, help="Instead of cohorts.methods; repeatable.")
@click.option(
    "--assign",
    "assigned",
    multiple=True,
    help="A further set, such as train, whose speakers get cohorts from the definition. May be"
    " repeated.",
)
@_EMBEDDINGS
@stage_options
def find(
    recipe: Recipe,
    name: str,
    set_name: str,
    confirm: str,
    search: str,
    methods: tuple[str, ...],
    assigned: tuple[str, ...],
    embeddings: tuple[Path, ...],
) -> None:
    """Find cohorts on the speakers of one set and write exp/cohorts/METHOD/ for each method."""
    from asrlib.cohorts.by_utterance import write_by_utterance
    from asrlib.cohorts.config import CohortsConfig, check_methods
    from asrlib.cohorts.find import COHORTS_VERSION, FOUND_FILE, Settings, divide, find_all
    from asrlib.cohorts.table import read_table
    from asrlib.embedding_table import EmbeddingTable
    from asrlib.experiments.publish import PublishConfig
    from asrlib.scoring.score import read_config
    from asrlib.scoring.utt_counts import COUNTS_FILE, read_counts, sum_counts
    from asrlib.stamps import Stamp

    config = recipe.config(CohortsConfig, "cohorts")
    score = read_config(recipe)
    settings = Settings(
        config=config,
        methods=check_methods(methods or config.methods),
        columns=score.groups,
        bands=score.bands,
        public=recipe.config(PublishConfig, "publish").public,
        title=recipe.dir.resolve().name,
        folder=recipe.dir,
    )
    out = recipe.exp / "cohorts"
    log_to(out / "log" / "find.log")
    counts = recipe.exp / name / f"decode_{set_name}_{search}" / COUNTS_FILE
    speakers = recipe.data / "speakers.tsv"
    shares = config.geodemographic.table
    inputs = [counts, speakers, *embeddings, *([recipe.dir / shares] if shares else [])]
    stamp = Stamp(
        path=out / ".find.stamp",
        inputs=inputs,
        config={"settings": settings, "sets": [set_name, confirm, *assigned]},
        outputs=[out / FOUND_FILE],
        version=COHORTS_VERSION,
    )
    if not recipe.force and stamp.is_current():
        log.info("cohorts of %s on %s: up to date", name, set_name)
        return
    errors = sum_counts(read_counts(counts))
    discovery = read_table(speakers, (set_name,))
    if not len(discovery):
        raise DataError(f"{speakers}: has no speaker of set {set_name}", "choose another set")
    if confirm == set_name:
        discovery, confirmation = divide(discovery, score.bands)
    else:
        confirmation = read_table(speakers, (confirm,))
    others = [read_table(speakers, (name,)) for name in assigned]
    tables = [EmbeddingTable.read(path) for path in embeddings]
    if tables:
        discovery, confirmation = (t.with_embeddings(tables) for t in (discovery, confirmation))
        others = [table.with_embeddings(tables) for table in others]
    with stamp.making():
        find_all(discovery, confirmation, errors, settings, out, others)
        if tables:
            write_by_utterance(out, settings.methods, confirmation.speakers, tables)


@command.command()
@click.option("--name", required=True, help="The model: a directory under exp/.")
@click.option("--set-name", default="discovery", show_default=True, help="As for find.")
@click.option(
    "--confirm", "judged_set", default="confirmation", show_default=True, help="As for find."
)
@search_option(about="with which the sets were decoded", default=SEARCHES[0])
@recipe_options
def confirm(recipe: Recipe, name: str, set_name: str, judged_set: str, search: str) -> None:
    """Judge the cohorts of all methods on confirmation speakers.

    It writes exp/cohorts/METHOD/confirmation.json.
    """
    from asrlib.cohorts.confirm import confirm_all, read_decoded, sentence
    from asrlib.cohorts.find import FOUND_FILE
    from asrlib.scoring.score import ScoreConfig

    out = recipe.exp / "cohorts"
    log_to(out / "log" / "confirm.log")
    discovery, confirmation = (
        read_decoded(recipe.exp / name / f"decode_{which}_{search}")
        for which in (set_name, judged_set)
    )
    resampling = recipe.config(ScoreConfig, "score").resampling
    judged = confirm_all(out, out / FOUND_FILE, discovery, confirmation, resampling)
    for method, one in judged.items():
        log.info("%s: %s", method, sentence(one.judged))


@command.command()
@click.argument("definition_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--speakers", type=_FILE, required=True, help="A table with a column speaker.")
@click.option("--set-name", help="Only rows with this value in the column set.")
@_EMBEDDINGS
@click.option("--out", type=_FILE, required=True, help="The file to write, a line per speaker.")
def assign(
    definition_dir: Path,
    speakers: Path,
    set_name: str | None,
    embeddings: tuple[Path, ...],
    out: Path,
) -> None:
    """Assign speakers to the cohorts that exp/cohorts/METHOD/definition.json describes."""
    from asrlib.cohorts.definition import cohort_lines, read_definition, write_lines
    from asrlib.cohorts.table import read_table
    from asrlib.embedding_table import EmbeddingTable

    log_to(None)
    definition = read_definition(definition_dir)
    table = read_table(speakers, (set_name,) if set_name else ())
    if not len(table):
        of_set = f" of set {set_name}" if set_name else ""
        raise DataError(f"{speakers}: has no speaker{of_set}", "give a line for each speaker")
    if embeddings:
        table = table.with_embeddings([EmbeddingTable.read(path) for path in embeddings])
    assignment = definition.assign(table)
    write_lines(out, cohort_lines(definition, table.speakers, assignment, None))
    for cohort in dict.fromkeys((*(c.cohort for c in definition.cohorts), "unknown")):
        log.info("%6d speakers  %s", assignment.cohorts.count(cohort), cohort)
    for reason, count in assignment.unknown().items():
        log.warning("cohort unknown of %d speakers: %s", count, reason)


@command.command()
@click.option("--method", "method", required=True, help="The cohorts: exp/cohorts/METHOD.")
@click.option("--name", required=True, help="The model: a directory under exp/.")
@click.option("--test-set", default="confirmation", show_default=True, help="The decoded set.")
@click.option(
    "--split",
    type=click.Choice(["discovery", "confirmation"]),
    default="confirmation",
    show_default=True,
    help="The half of the speakers to look at.",
)
@search_option(about="with which the set was decoded", default=SEARCHES[0])
@recipe_options
def explain(recipe: Recipe, method: str, name: str, test_set: str, split: str, search: str) -> None:
    """Say what the bottom cohort shares, and write exp/cohorts/METHOD/explanation.json."""
    from asrlib.cohort_file import read_cohort_map
    from asrlib.cohorts.config import CohortsConfig
    from asrlib.cohorts.definition import read_definition
    from asrlib.cohorts.explain import EXPLANATION_FILE, explain
    from asrlib.cohorts.table import read_table
    from asrlib.scoring.records import read_utterances
    from asrlib.scoring.score import read_config
    from asrlib.scoring.wer import align

    log_to(None)
    score, config = read_config(recipe), recipe.config(CohortsConfig, "cohorts")
    directory = recipe.exp / "cohorts" / method
    aligned = align(
        read_utterances(recipe.exp / name / f"decode_{test_set}_{search}" / "hyp.jsonl")
    )
    table = read_table(recipe.data / "speakers.tsv", (test_set,))
    known = read_cohort_map(directory)
    cohorts = {s: cohort for s, cohort in known.cohorts.items() if known.splits[s] == split}
    # That a cohort has the values that define it explains nothing.
    own = read_definition(directory).columns
    columns, covariates = (
        [c for c in x if c not in own] for x in (score.groups, config.covariates)
    )
    found = explain(method, test_set, cohorts, table, aligned, columns, score.bands, covariates)
    found.to_file(directory / EXPLANATION_FILE)
    log.info("bottom: %s", found.bottom.line())
    log.info("others: %s", found.others.line())
    for e in found.enriched[:5]:
        what = " and ".join(f"{column}={value}" for column, value in e.attributes.items())
        log.info("%s: odds ratio %.2f, corrected p = %.3g", what, e.odds_ratio, e.corrected_p)
    log.info("worst words: %s", ", ".join(w.word for w in found.words) or "none")
    adjusted = found.adjustment.adjusted
    if adjusted is None:
        log.info("no regression: %s", found.adjustment.note)
    else:
        held = ", ".join(found.adjustment.covariates)
        log.info("ratio %.2f with %s held fixed", adjusted.ratio, held)

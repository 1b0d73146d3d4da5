"""`python -m asrlib score`: stage 6, score a decoded test set."""

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
from asrlib.errors import DataError
from asrlib.recipe import Recipe
from asrlib.searches import SEARCHES
from asrlib.stamps import Stamp

if TYPE_CHECKING:
    from asrlib.scoring.score import ScoreConfig

log = logging.getLogger(__name__)


@click.command(name="score")
@click.option("--name", required=True, help="The model: a directory under exp/.")
@click.option("--test-set", default="test", show_default=True, help="The decoded set.")
@search_option(
    about="with which the set was decoded; by default greedy, with --tag that of the one decoding"
    " of this name"
)
@membership_option(about="What the model was told about cohorts when the set was decoded.")
@click.option(
    "--cohorts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="A directory with cohorts.jsonl, named after their method; the scores by cohort go to"
    " cohort_scores_METHOD.json. May be repeated.",
)
@tag_option(about="The --tag that the set was decoded with.")
@stage_options
def command(
    recipe: Recipe,
    name: str,
    test_set: str,
    search: str | None,
    membership: str | None,
    cohorts: tuple[Path, ...],
    tag: str | None,
) -> None:
    """Score exp/NAME/decode_SET_SEARCH: WER with intervals, alignments, groups, latency, cost."""
    from asrlib.scoring.records import decode_dir_name
    from asrlib.scoring.score import OUTPUTS, SCORE_VERSION, read_config, score_decode

    told = None if membership == "unknown" else membership
    names = [decode_dir_name(test_set, one, told, tag) for one in SEARCHES]
    decoded = [one for one in names if (recipe.exp / name / one / "hyp.jsonl").exists()]
    chosen = decode_dir_name(test_set, search or SEARCHES[0], told, tag)
    if search is None and tag is not None and len(decoded) == 1:
        chosen = decoded[0]
    decode_dir = recipe.exp / name / chosen
    if not (decode_dir / "hyp.jsonl").exists():
        raise DataError(f"{decode_dir}/hyp.jsonl: missing", "run the decode stage (5) first")
    config = read_config(recipe)
    log_to(decode_dir / "log" / "score.log")
    speakers_tsv = recipe.data / "speakers.tsv"
    inputs = [decode_dir / "hyp.jsonl", decode_dir / "meta.json", speakers_tsv]
    stamp = Stamp(
        path=decode_dir / ".score.stamp",
        inputs=[p for p in inputs if p.exists()],  # the speaker table may be absent
        config=config,
        outputs=[decode_dir / f for f in OUTPUTS],
        version=SCORE_VERSION,
    )
    if not recipe.force and stamp.is_current():
        log.info("score %s %s: up to date", name, decode_dir.name)
    else:
        with stamp.making():
            score_decode(decode_dir, speakers_tsv, config)
        first = (decode_dir / "wer.txt").read_text().split("\n")[0]
        log.info("%s %s: %s", name, decode_dir.name, first)
    for directory in cohorts:
        _score_cohorts(recipe, decode_dir, directory, config)


def _score_cohorts(recipe: Recipe, decode_dir: Path, cohorts: Path, config: ScoreConfig) -> None:
    """Write cohort_scores_METHOD.json, unless it is up to date."""
    from asrlib.cohort_file import COHORTS_FILE
    from asrlib.scoring.cohort_frame import cohort_scores_file, score_cohorts
    from asrlib.scoring.groups import gap_text
    from asrlib.scoring.score import SCORE_VERSION
    from asrlib.scoring.utt_counts import COUNTS_FILE

    method = cohorts.resolve().name
    stamp = Stamp(
        path=decode_dir / f".score_cohorts_{method}.stamp",
        inputs=[decode_dir / COUNTS_FILE, cohorts / COHORTS_FILE],
        config=config,
        outputs=[decode_dir / cohort_scores_file(method)],
        version=SCORE_VERSION,
    )
    if not recipe.force and stamp.is_current():
        log.info("cohorts %s: up to date", cohorts)
        return
    limits = config.min_speakers, config.min_words
    with stamp.making():
        scores = score_cohorts(decode_dir, cohorts, config.resampling, *limits)
    for split, frame in scores.frames.items():
        gap = frame.measures["wer"].gap if "wer" in frame.measures else None
        text = "no two cohorts are large enough" if gap is None else gap_text(gap)
        log.info("cohorts by %s, %s speakers: %s", scores.method, split, text)

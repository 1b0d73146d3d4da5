"""`python -m asrlib score-meetings`: the last part of stage 7, score a decoded meeting set."""

from __future__ import annotations

import logging

import click

from asrlib.cli.common import log_to, search_option, stage_options
from asrlib.errors import DataError
from asrlib.recipe import Recipe
from asrlib.searches import SEARCHES
from asrlib.stamps import Stamp

log = logging.getLogger(__name__)


@click.command(name="score-meetings")
@click.option("--name", required=True, help="The model: a directory under exp/.")
@click.option("--test-set", default="mix_test", show_default=True, help="The decoded mixtures.")
@search_option(about="with which the set was decoded", default=SEARCHES[0])
@stage_options
def command(recipe: Recipe, name: str, test_set: str, search: str) -> None:
    """Score exp/NAME/decode_SET_SEARCH: ORC-WER, cpWER, tcpWER, turn counts, pointing latency."""
    from asrlib.data.cuts import read_cuts
    from asrlib.data.reference_turns import REFERENCE_FILE
    from asrlib.meetings.score import (
        OUTPUTS,
        SCORE_MEETINGS_VERSION,
        read_sessions,
        score_meetings,
    )
    from asrlib.report.timeline import write_timelines
    from asrlib.scoring.score import ScoreConfig
    from asrlib.text.turns import TURNS_FILE

    decode_dir, set_dir = recipe.exp / name / f"decode_{test_set}_{search}", recipe.data / test_set
    found = [p for p in (decode_dir / TURNS_FILE, decode_dir / "hyp.jsonl") if p.exists()]
    if not found:
        raise DataError(f"{decode_dir}/{TURNS_FILE}: missing", "decode the mixture set first")
    config = recipe.config(ScoreConfig, "score")
    log_to(decode_dir / "log" / "score.log")
    stamp = Stamp(
        path=decode_dir / ".score_meetings.stamp",
        inputs=[
            *found,
            decode_dir / "meta.json",
            set_dir / REFERENCE_FILE,
            set_dir / "cuts.jsonl.gz",
        ],
        config=config,
        outputs=[decode_dir / f for f in OUTPUTS],
        version=SCORE_MEETINGS_VERSION,
    )
    if not recipe.force and stamp.is_current():
        log.info("score-meetings %s %s %s: up to date", name, test_set, search)
        return
    cuts = read_cuts(set_dir / "cuts.jsonl.gz", "run `python -m asrlib mixtures` first")
    conditions = {cut.id: str((cut.custom or {}).get("condition", "")) for cut in cuts}
    sessions = read_sessions(decode_dir, set_dir, conditions)
    with stamp.making():
        score_meetings(decode_dir, sessions, list(dict.fromkeys(conditions.values())), config)
        durations = {cut.id: cut.duration for cut in cuts}
        write_timelines(decode_dir / "timelines", sessions, durations, config.timelines)
    first = (decode_dir / "wer.txt").read_text().split("\n")[0]
    click.echo(f"{name} {test_set} {search}: {first}")

"""Score one decode of a mixture set: what `asrlib.scoring.meetings` finds, written down."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lhotse import CutSet

from asrlib import __version__
from asrlib.data.cuts import read_cuts
from asrlib.errors import DataError
from asrlib.files import atomic_dir, atomic_write
from asrlib.processor import machine
from asrlib.scoring.meetings import (
    MEASURES,
    GroupScore,
    hypotheses,
    make_groups,
    score_groups,
    summary,
)
from asrlib.scoring.records import read_json, read_utterances
from asrlib.scoring.score import ScoreConfig, cost_of
from asrlib.scoring.timeline import examples, timeline
from asrlib.scoring.truth import TRUTH_FILE
from asrlib.scoring.wer import ErrorRate
from asrlib.streaming.turns import TURNS_FILE, Turn, read_turns, write_turns

log = logging.getLogger(__name__)

# By channel for ORC-WER, by speaker where known for cpWER and tcpWER.
CHANNELS_FILE, SPEAKERS_FILE = "channels.seglst.json", "speakers.seglst.json"
SCORES_FILE = "meetings.json"
OUTPUTS = (SCORES_FILE, "wer.txt", CHANNELS_FILE, SPEAKERS_FILE)
_AGAIN = "decode again with --force"


def score_meetings(decode_dir: Path, set_dir: Path, config: ScoreConfig) -> dict[str, Any]:
    """Score the turns of `decode_dir`; leave `OUTPUTS` and timelines/ there.

    Args:
        decode_dir: holds turns.seglst.json, or, of a single-talker model, hyp.jsonl; and meta.json.
        set_dir: the mixture set, `data/mix_<set>`.

    Returns:
        What stands in meetings.json.

    Raises:
        DataError: a file is missing or broken, or of another set.
    """
    remake = "run `python -m asrlib mixtures` first"
    cuts = read_cuts(set_dir / "cuts.jsonl.gz", remake)
    conditions = {cut.id: str((cut.custom or {}).get("condition", "")) for cut in cuts}
    meta = read_json(decode_dir / "meta.json", _AGAIN)
    groups = make_groups(
        conditions, read_turns(set_dir / TRUTH_FILE, remake), recognised_turns(decode_dir)
    )
    write_turns(decode_dir / CHANNELS_FILE, hypotheses(groups, by_channel=True))
    write_turns(decode_dir / SPEAKERS_FILE, hypotheses(groups, by_channel=False))
    scored = score_groups(groups, config.collar)
    names = list(dict.fromkeys(conditions.values()))
    by_condition = {
        name: summary([s for s in scored if s.group.condition == name], config.resampling)
        for name in names
    }
    scores = {
        "version": __version__,
        "model": meta.get("model"),
        "set": meta.get("set"),
        "search": meta.get("search"),
        "all": summary(scored, config.resampling),
        "conditions": by_condition,
        "collar": config.collar,
        "resampling": {"replicates": config.replicates, "confidence": config.confidence},
        "sessions": [_session(s) for s in scored],
        "cost": cost_of(meta),
        "machine": meta.get("machine") or machine(),
    }
    with atomic_write(decode_dir / "wer.txt") as f:
        f.writelines(f"{line}\n" for line in wer_lines(scored))
    _draw(decode_dir / "timelines", scored, cuts, config.timelines)
    with atomic_write(decode_dir / SCORES_FILE) as f:
        json.dump(scores, f, indent=1)
    return scores


def recognised_turns(decode_dir: Path) -> list[Turn]:
    """The turns that a decode left; a single-talker model's utterance is one turn on channel 0.

    Raises:
        DataError: there are none, or the file is broken.
    """
    if (decode_dir / TURNS_FILE).exists() or not (decode_dir / "hyp.jsonl").exists():
        return read_turns(decode_dir / TURNS_FILE, "decode the mixture set first")
    turns = []
    for u in read_utterances(decode_dir / "hyp.jsonl"):
        if u.hyp:
            start = u.hyp_words[0].start if u.hyp_words else 0.0
            end = u.hyp_words[-1].end if u.hyp_words else u.duration
            turns.append(Turn(u.id, 0, start, end, " ".join(u.hyp), u.hyp_words))
    return turns


def wer_lines(scored: Sequence[GroupScore]) -> list[str]:
    """Kaldi's lines: each measure over all groups, then by condition."""
    conditions = ["", *dict.fromkeys(s.group.condition for s in scored if s.group.condition)]
    return [
        ErrorRate.sum(
            s.errors[measure] for s in scored if condition in ("", s.group.condition)
        ).line(f"{measure.upper()} {condition}".strip())
        for measure in MEASURES
        for condition in conditions
    ]


def _session(score: GroupScore) -> dict[str, Any]:
    return {
        "session": score.group.session,
        "condition": score.group.condition,
        "turns": len(score.group.true),
        "recognised": len(score.group.recognised),
        **{measure: rate.to_json() for measure, rate in score.errors.items()},
        "start_pointing_ms": score.starts.ms,
        "end_pointing_ms": score.ends.ms,
        "closing_ms": score.closed.ms,
    }


def _draw(directory: Path, scored: Sequence[GroupScore], cuts: CutSet, each: int) -> None:
    durations = {cut.id: cut.duration for cut in cuts}
    with atomic_dir(directory) as temp:
        for group in examples([s.group for s in scored], each):
            picture = timeline(group, durations[group.session])
            (temp / f"{group.session}.svg").write_text(picture, encoding="utf-8")


def read_scores(path: Path) -> dict[str, Any]:
    """What `score_meetings` wrote.

    Raises:
        DataError: broken, or without what a table needs.
    """
    again = "score again with --force"
    scores = read_json(path, again)
    lacking = [
        key for key in ("all", "conditions", "sessions", "resampling", "cost") if key not in scores
    ]
    if lacking:
        raise DataError(f"{path}: holds no {', '.join(lacking)}", again)
    return scores

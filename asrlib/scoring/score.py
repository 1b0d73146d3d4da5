"""Score one decode directory: everything machine-readable goes into scores.json."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from asrlib import __version__
from asrlib.config import configclass
from asrlib.files import atomic_write
from asrlib.processor import machine
from asrlib.scoring.bootstrap import Resampling, speaker_interval
from asrlib.scoring.details import write_details
from asrlib.scoring.groups import GroupTable, group_tables
from asrlib.scoring.latency import measure_latency
from asrlib.scoring.records import read_json, read_speakers, read_utterances
from asrlib.scoring.wer import Aligned, ErrorRate, align, sum_by_speaker

log = logging.getLogger(__name__)

_COST_KEYS = (
    "real_time_factor",
    "peak_memory_mb",
    "audio_seconds",
    "cpu_seconds",
    "wall_seconds",
    "threads",
    "streams",
    "parameters",
    "flops_per_second",
    "compute_share",
)

OUTPUTS = ("wer.txt", "wer_details/per_utt", "alignments.txt", "scores.json")


@configclass
class ScoreConfig:
    """conf/score.yaml.

    Attributes:
        replicates: resampled sets of speakers.
        confidence: coverage of the intervals, 0 to 1.
        seed: of the resampling.
        groups: columns of data/speakers.tsv to report by.
        bands: ascending edges of the columns that hold numbers.
        min_speakers, min_words: what a group needs to take part in the gap.
        pairs: models that RESULTS.md compares, [baseline, other].
        collar: s by which a word may be off in tcpWER.
        timelines: pictures of mixtures, for each condition.
    """

    replicates: int = Field(default=10_000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = Field(default=1, ge=0)
    groups: tuple[str, ...] = ()
    bands: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    min_speakers: int = Field(default=3, ge=1)
    min_words: int = Field(default=50, ge=1)
    pairs: tuple[tuple[str, str], ...] = ()
    collar: float = Field(default=5.0, ge=0)
    timelines: int = Field(default=2, ge=0)

    @property
    def resampling(self) -> Resampling:
        return Resampling(self.replicates, self.confidence, self.seed)


def score_decode(decode_dir: Path, speakers_tsv: Path, config: ScoreConfig) -> dict[str, Any]:
    """Score hyp.jsonl of `decode_dir`; leave wer.txt, wer_details/, alignments.txt, scores.json.

    Args:
        decode_dir: holds hyp.jsonl and meta.json.
        speakers_tsv: metadata of the speakers, for the groups; may be absent.

    Returns:
        What stands in scores.json.

    Raises:
        DataError: hyp.jsonl or meta.json missing or broken.
    """
    aligned = align(read_utterances(decode_dir / "hyp.jsonl"))
    meta = read_json(decode_dir / "meta.json", "run the decode stage (5) again with --force")
    by_speaker = sum_by_speaker(aligned)
    interval = speaker_interval(by_speaker, config.resampling)
    tables = group_tables(
        by_speaker,
        read_speakers(speakers_tsv, str(meta.get("set", ""))),
        config.groups,
        config.bands,
        config.resampling,
        config.min_speakers,
        config.min_words,
    )
    write_details(decode_dir, aligned, interval, config.resampling)
    scores = {
        "version": __version__,
        "model": meta.get("model"),
        "set": meta.get("set"),
        "search": meta.get("search"),
        **_accuracy(aligned),
        "interval": interval and interval.percent(),
        "resampling": {"replicates": config.replicates, "confidence": config.confidence},
        "latency": _latency(aligned),
        "groups": {t.column: t.to_json() for t in tables},
        "cost": cost_of(meta),
        "machine": meta.get("machine") or machine(),
        "meta": meta,
    }
    with atomic_write(decode_dir / "scores.json") as f:
        json.dump(scores, f, indent=1, sort_keys=True)
    _report(aligned, tables)
    return scores


def _accuracy(aligned: Sequence[Aligned]) -> dict[str, Any]:
    wrong = sum(1 for a in aligned if a.words.errors)
    return {
        "wer": ErrorRate.sum(a.words for a in aligned).to_json(),
        "cer": ErrorRate.sum(a.chars for a in aligned).to_json(),
        "utterances": len(aligned),
        "wrong_utterances": wrong,
        "private_utterances": sum(1 for a in aligned if a.utterance.private),
        "speakers": len({a.utterance.speaker for a in aligned}),
    }


def _latency(aligned: Sequence[Aligned]) -> dict[str, Any] | None:
    latency = measure_latency(aligned)
    if latency is None:
        log.info("latency: no word times in this set: skipped")
        return None
    if latency.skipped:
        log.warning(
            "latency: %d utterances left out: word times disagree with words", latency.skipped
        )
    return latency.to_json()


def cost_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What decoding cost, as meta.json tells it; None where it does not."""
    return {key: meta.get(key) for key in _COST_KEYS}


def _report(aligned: Sequence[Aligned], tables: Sequence[GroupTable]) -> None:
    log.info("%s", ErrorRate.sum(a.words for a in aligned).line())
    for table in tables:
        for g in table.groups:
            ends = "[{:.2f}, {:.2f}]".format(*g.interval.percent()) if g.interval else "no interval"
            log.info(
                "%12s %-16s %4d speakers %7d words  WER %6.2f %% %s%s",
                table.column,
                g.value,
                g.speakers,
                g.errors.words,
                100 * g.errors.rate,
                ends,
                "" if g.large_enough else "  (not in the gap)",
            )
        if table.gap and table.gap.ratio:
            log.info(
                "%12s gap: %s / %s = %.2f",
                table.column,
                table.gap.worst,
                table.gap.best,
                table.gap.ratio,
            )

"""Score one decode directory: everything machine-readable goes into scores.json."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from asrlib import __version__
from asrlib.config import configclass
from asrlib.json_record import JsonRecord
from asrlib.numbers import Count, NonNegative, Positive
from asrlib.scoring.bootstrap import Interval, Resampling, speaker_interval
from asrlib.scoring.groups import GroupTable, group_tables
from asrlib.scoring.kaldi_format import write_details
from asrlib.scoring.latency import LatencyScores, measure_latency
from asrlib.scoring.records import DecodeMeta, read_speakers, read_utterances
from asrlib.scoring.wer import Aligned, ErrorRate, align, sum_by_speaker

log = logging.getLogger(__name__)

SCORE_VERSION = 2  # raised when the output of `score` changes; see asrlib/stamps.py

SCORES_FILE = "scores.json"
OUTPUTS = ("wer.txt", "wer_details/per_utt", "alignments.txt", SCORES_FILE)


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
        timelines: number of sessions of each condition that are drawn.
    """

    replicates: int = Field(default=10_000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: Count = 1
    groups: tuple[str, ...]
    bands: dict[str, tuple[float, ...]]
    min_speakers: Positive = 3
    min_words: Positive = 50
    pairs: tuple[tuple[str, str], ...]
    collar: NonNegative = 5.0
    timelines: Count = 2

    @property
    def resampling(self) -> Resampling:
        return Resampling(self.replicates, self.confidence, self.seed)


@dataclass(frozen=True)
class Scores(JsonRecord):
    """scores.json: all that is known of one decode of one test set.

    Attributes:
        version: of the program that scored.
        meta: what was decoded and what it cost.
        wrong_utterances: number of utterances with at least one word error.
        private_utterances: number of those whose words stand in no file.
        interval: of the word error rate, in per cent; None with fewer than two speakers.
        latency: None where no word times are known.
        groups: by column of the speaker table.
    """

    version: str
    meta: DecodeMeta
    wer: ErrorRate
    cer: ErrorRate
    utterances: int
    wrong_utterances: int
    private_utterances: int
    speakers: int
    interval: Interval | None
    resampling: Resampling
    latency: LatencyScores | None
    groups: dict[str, GroupTable]


def score_decode(decode_dir: Path, speakers_tsv: Path, config: ScoreConfig) -> Scores:
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
    fix = "run the decode stage (5) again with --force"
    meta = DecodeMeta.from_file(decode_dir / "meta.json", fix)
    by_speaker = sum_by_speaker(aligned)
    interval = speaker_interval(by_speaker, config.resampling)
    tables = group_tables(
        by_speaker,
        read_speakers(speakers_tsv, meta.set),
        config.groups,
        config.bands,
        config.resampling,
        config.min_speakers,
        config.min_words,
    )
    write_details(decode_dir, aligned, interval, config.resampling)
    scores = Scores(
        version=__version__,
        meta=meta,
        wer=ErrorRate.sum(a.words for a in aligned),
        cer=ErrorRate.sum(a.chars for a in aligned),
        utterances=len(aligned),
        wrong_utterances=sum(1 for a in aligned if a.words.errors),
        private_utterances=sum(1 for a in aligned if a.utterance.private),
        speakers=len(by_speaker),
        interval=interval and interval.percent(),
        resampling=config.resampling,
        latency=_latency(aligned),
        groups=tables,
    )
    scores.to_file(decode_dir / SCORES_FILE)
    _report(scores)
    return scores


def _latency(aligned: Sequence[Aligned]) -> LatencyScores | None:
    latency = measure_latency(aligned)
    if latency is None:
        log.info("latency: no word times in this set: skipped")
        return None
    if latency.skipped:
        log.warning(
            "latency: %d utterances left out: word times disagree with words", latency.skipped
        )
    return latency.scores()


def _report(scores: Scores) -> None:
    log.info("%s", scores.wer.line())
    for column, table in scores.groups.items():
        for g in table.groups:
            ends = "[{:.2f}, {:.2f}]".format(*g.interval) if g.interval else "no interval"
            log.info(
                "%12s %-16s %4d speakers %7d words  WER %6.2f %% %s%s",
                column,
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
                column,
                table.gap.worst,
                table.gap.best,
                table.gap.ratio,
            )

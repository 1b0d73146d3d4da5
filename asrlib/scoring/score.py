"""Score one decode directory and write all results, in machine-readable form, to scores.json."""

from __future__ import annotations

import logging
import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from asrlib import __version__
from asrlib.config import configclass
from asrlib.errors import ConfigError
from asrlib.files import atomic_write
from asrlib.json_record import JsonRecord
from asrlib.numbers import Count, NonNegative, Positive
from asrlib.recipe import Recipe
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.groups import GroupTable, gap_text, group_tables
from asrlib.scoring.kaldi_format import SetCounts, details, summary
from asrlib.scoring.latency import LatencyMeter, LatencyScores
from asrlib.scoring.records import DecodeMeta, iter_utterances, read_speakers
from asrlib.scoring.speaker_sums import Interval, speaker_interval
from asrlib.scoring.utt_counts import COUNTS_FILE, count_line
from asrlib.scoring.wer import ErrorRate, iter_aligned

log = logging.getLogger(__name__)

SCORE_VERSION = 3  # raise it when the output of `score` changes; see asrlib/stamps.py

SCORES_FILE = "scores.json"
OUTPUTS = ("wer.txt", "wer_details/per_utt", "alignments.txt", COUNTS_FILE, SCORES_FILE)


@configclass
class ScoreConfig:
    """Configuration of scoring (conf/score.yaml).

    Attributes:
        replicates: number of draws of speakers, for medians and changes of a gap.
        permutations: number of permutations of speakers among groups.
        confidence: coverage of the intervals, 0 to 1.
        seed: seed of draws and permutations.
        groups: columns of data/speakers.tsv by which error rates are reported.
        bands: ascending band edges, for each column that contains numbers.
        min_speakers, min_words: smallest numbers of speakers and of reference words with which a
            group takes part in the gap.
        pairs: models that exp/report.html compares, as [baseline, other].
        collar: largest distance in time at which tcpWER matches two words, in seconds.
        timelines: number of sessions of each condition for which a timeline is drawn.
    """

    replicates: int = Field(default=10_000, ge=100)
    permutations: int = Field(default=2_000, ge=99)
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
        """The settings of intervals, draws and permutations."""
        return Resampling(self.replicates, self.confidence, self.seed, self.permutations)


@dataclass(frozen=True)
class Scores(JsonRecord):
    """Content of scores.json: all scores of one decoded test set.

    Attributes:
        version: version of the program that computed the scores.
        meta: what was decoded, and at what cost.
        wer, cer: word and character error counts.
        utterances: number of utterances.
        wrong_utterances: number of utterances with at least one word error.
        private_utterances: number of utterances whose words are written to no file.
        speakers: number of speakers.
        interval: interval of the word error rate, in per cent; None with fewer than two speakers.
        resampling: settings of intervals, draws and permutations.
        latency: None if no word times are known.
        groups: tables of groups, by column of the speaker table.
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


def read_config(recipe: Recipe) -> ScoreConfig:
    """Load conf/score.yaml; columns that --set names have to be in the speaker table.

    Raises:
        ConfigError: one is not, which would report no groups; the message lists those there are.
    """
    config = recipe.config(ScoreConfig, "score")
    if any(re.match(r"score\.groups\b", override) for override in recipe.overrides):
        table = recipe.data / "speakers.tsv"
        known = {name for row in read_speakers(table, "").values() for name in row}
        known -= {"speaker", "set"}
        for column in config.groups:
            if column not in known:
                raise ConfigError(
                    f"--set score.groups: {table} has no column {column}",
                    f"choose among {', '.join(sorted(known))}" if known else "run stage 1 first",
                )
    return config


def score_decode(decode_dir: Path, speakers_tsv: Path, config: ScoreConfig) -> Scores:
    """Score the hypotheses of a decode directory.

    Writes `OUTPUTS` and the other files of wer_details/ to the same directory.

    Args:
        decode_dir: directory that contains hyp.jsonl and meta.json.
        speakers_tsv: path of the speakers' metadata, which defines the groups; the file need not
            exist.

    Returns:
        The content of scores.json.

    Raises:
        DataError: hyp.jsonl or meta.json is missing or broken.
    """
    fix = "run the decode stage (5) again with --force"
    meta = DecodeMeta.from_file(decode_dir / "meta.json", fix)
    counts = SetCounts()
    with (
        details(decode_dir) as writer,
        atomic_write(decode_dir / COUNTS_FILE) as counts_file,
        closing(LatencyMeter()) as meter,
    ):
        for a in iter_aligned(iter_utterances(decode_dir / "hyp.jsonl")):
            counts.add(a)
            meter.add(a)
            writer.add(a)
            counts_file.write(count_line(a))
        by_speaker = counts.by_speaker()
        interval = speaker_interval(by_speaker, config.confidence)
        tables = group_tables(
            by_speaker,
            read_speakers(speakers_tsv, meta.set),
            config.groups,
            config.bands,
            config.resampling,
            config.min_speakers,
            config.min_words,
        )
        writer.finish(counts, interval, config.confidence)
        latency = meter.scores()
    with atomic_write(decode_dir / "wer.txt") as f:
        f.write(summary(counts, interval, config.confidence))
    scores = Scores(
        version=__version__,
        meta=meta,
        wer=counts.total.words,
        cer=counts.chars,
        utterances=counts.total.utterances,
        wrong_utterances=counts.total.wrong,
        private_utterances=counts.private,
        speakers=len(by_speaker),
        interval=interval and interval.percent(),
        resampling=config.resampling,
        latency=latency,
        groups=tables,
    )
    scores.to_file(decode_dir / SCORES_FILE)
    _report(scores)
    return scores


def _report(scores: Scores) -> None:
    if scores.latency is None:
        log.info("latency: not measured: this set has no word times")
    elif scores.latency.skipped_utterances:
        log.warning(
            "latency: %d utterances are left out: their word times do not match their words",
            scores.latency.skipped_utterances,
        )
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
        if table.gap:
            log.info("%12s gap: %s", column, gap_text(table.gap))

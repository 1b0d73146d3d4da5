"""Every measure of a decoded set by cohort: the shape of fairlearn's MetricFrame, on sums.

A measure is a ratio of two sums over utterances, such as errors and words. Cohorts are sets of
speakers or of utterances; each utterance is in exactly one of them, so that the sums of the cohorts
add up to those of the set. Intervals are over speakers: log-t for rates of errors, Student's t for
delays and for the share of encoder work, which may be below zero or have a natural upper bound.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asrlib import __version__
from asrlib.errors import DataError
from asrlib.json_record import JsonRecord
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.groups import UNKNOWN, Gap, gap_between
from asrlib.scoring.records import DecodeMeta
from asrlib.scoring.speaker_sums import Interval, SpeakerSums
from asrlib.scoring.utt_counts import COUNTS_FILE, UtteranceCounts, read_counts

COHORTS_FILE, DEFINITION_FILE = "cohorts.jsonl", "definition.json"
Split = Literal["discovery", "confirmation", "other"]
_FIND = "find the cohorts of this corpus again: python -m asrlib cohorts find"


@dataclass(frozen=True)
class Measure:
    """A ratio of sums.

    Attributes:
        over: the two numbers of an utterance; None where it was not measured.
        errors: whether it is a rate of errors, shown in per cent.
    """

    over: Callable[[UtteranceCounts], tuple[float, float] | None]
    errors: bool


def _mean(value: float | None, weight: float) -> tuple[float, float] | None:
    return None if value is None else (value * weight, weight)


MEASURES: dict[str, Measure] = {
    "wer": Measure(lambda u: (u.substitutions + u.insertions + u.deletions, u.words), True),
    "cer": Measure(lambda u: (u.character_errors, u.characters), True),
    "deletions": Measure(lambda u: (u.deletions, u.words), True),
    "insertions": Measure(lambda u: (u.insertions, u.words), True),
    "substitutions": Measure(lambda u: (u.substitutions, u.words), True),
    "symbol_delay_ms": Measure(lambda u: (u.symbol_delay_ms_sum, u.symbol_delays), False),
    "finalisation_ms": Measure(lambda u: _mean(u.finalisation_ms, 1), False),
    "encoder_work": Measure(lambda u: _mean(u.encoder_work, u.seconds), False),
}


@dataclass(frozen=True)
class Estimate(JsonRecord):
    """A ratio of two sums.

    Attributes:
        total, per: the sums: of errors and of words, of delays and of delayed words.
        value: their ratio; in per cent if it is a rate of errors, else in the unit of `total`;
            None without `per`.
        interval: its interval over speakers; None with fewer than two.
    """

    total: float
    per: float
    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Measured(JsonRecord):
    """A measure of all cohorts.

    Attributes:
        overall: over all utterances.
        cohorts: by cohort.
        gap: the worst cohort against the best, among those that are large enough; None with fewer
            than two.
        ratio: worst divided by best, with its interval; None if the best is not above zero.
    """

    overall: Estimate
    cohorts: dict[str, Estimate]
    gap: Gap | None
    ratio: float | None
    ratio_interval: Interval | None


@dataclass(frozen=True)
class CohortSize(JsonRecord):
    """The size of a cohort.

    Attributes:
        speakers, utterances, words: numbers; `seconds` of audio.
        speaker_share, audio_share: in per cent, with intervals over speakers; None with fewer than
            two speakers in all.
        large_enough: whether the cohort takes part in gaps.
    """

    speakers: int
    utterances: int
    words: int
    seconds: float
    speaker_share: float
    speaker_share_interval: Interval | None
    audio_share: float
    audio_share_interval: Interval | None
    large_enough: bool


@dataclass(frozen=True)
class CohortFrame(JsonRecord):
    """All measures of all cohorts.

    Attributes:
        speakers: number of speakers.
        shared_speakers: number of speakers with utterances in several cohorts.
        sizes: by cohort.
        measures: by name (`MEASURES`), those that were measured.
    """

    speakers: int
    shared_speakers: int
    sizes: dict[str, CohortSize]
    measures: dict[str, Measured]


@dataclass(frozen=True, kw_only=True)
class CohortScores(JsonRecord):
    """cohort_scores_METHOD.json: the scores of a decoded set by cohort.

    Attributes:
        version: version of the program that computed the scores.
        meta: what was decoded.
        method: how the cohorts were found.
        frames: by the half of the corpus that the speakers belong to. The gaps of `discovery` are
            found gaps: the cohorts were chosen on these speakers, so that the gaps are inflated.
            `other` holds the speakers of no half.
        resampling: settings of intervals and permutations.
    """

    version: str
    meta: DecodeMeta
    method: str
    frames: dict[Split, CohortFrame]
    resampling: Resampling


def cohort_frame(
    rows: Sequence[UtteranceCounts],
    cohorts: Mapping[str, str],
    resampling: Resampling,
    min_speakers: int = 1,
    min_words: int = 1,
    strata: Mapping[str, str] | None = None,
) -> CohortFrame:
    """Compute every measure by cohort.

    Args:
        rows: counts of each utterance.
        cohorts: cohort of each speaker, or of each utterance; an utterance that is found neither
            by its own id nor by its speaker's is in cohort `unknown`.
        min_speakers, min_words: smallest numbers of speakers and of reference words with which a
            cohort takes part in a gap; `unknown` never does.
        strata: by speaker, what permutations keep (see `permutation_test`).

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("a cohort frame needs utterances")
    members: dict[str, list[UtteranceCounts]] = {}
    for row in rows:
        cohort = cohorts.get(row.utterance) or cohorts.get(row.speaker) or UNKNOWN
        members.setdefault(cohort, []).append(row)
    members = {name: members[name] for name in sorted(members, key=lambda n: (n == UNKNOWN, n))}
    sizes = {
        name: _size(own, rows, name != UNKNOWN, resampling.confidence, min_speakers, min_words)
        for name, own in members.items()
    }
    places = Counter(s for own in members.values() for s in {u.speaker for u in own})
    compared = [name for name, size in sizes.items() if size.large_enough]
    measures = {}
    for name, measure in MEASURES.items():
        whole = sums_of(rows, measure)
        if whole.words > 0:
            parts = {cohort: sums_of(own, measure) for cohort, own in members.items()}
            measures[name] = _measured(whole, parts, compared, measure.errors, resampling, strata)
    shared = sum(1 for number in places.values() if number > 1)
    return CohortFrame(len(places), shared, sizes, measures)


def sums_of(rows: Sequence[UtteranceCounts], measure: Measure) -> SpeakerSums:
    """Add up a measure over the utterances of each speaker, where it was measured."""
    known = [(u.speaker, found) for u in rows if (found := measure.over(u)) is not None]
    speakers, totals = [s for s, _ in known], [t for _, t in known]
    return SpeakerSums.arrays(speakers, [e for e, _ in totals], [n for _, n in totals])


def _measured(
    whole: SpeakerSums,
    parts: Mapping[str, SpeakerSums],
    compared: Sequence[str],
    errors: bool,
    resampling: Resampling,
    strata: Mapping[str, str] | None,
) -> Measured:
    estimates = {name: estimate(sums, errors, resampling) for name, sums in parts.items()}
    groups = {name: parts[name] for name in compared if parts[name].words > 0}
    gap = gap_between(groups, resampling, strata, errors)
    ratio = ratio_interval = None
    if gap is not None and gap.gap is not None:
        ratio = 1 + gap.gap / 100
        ends = gap.gap_interval
        ratio_interval = ends and Interval(1 + ends.low / 100, 1 + ends.high / 100)
    overall = estimate(whole, errors, resampling)
    return Measured(overall, estimates, gap, ratio, ratio_interval)


def estimate(sums: SpeakerSums, errors: bool, resampling: Resampling) -> Estimate:
    """Estimate the ratio of two sums; `errors` says whether it is a rate of errors."""
    if sums.words == 0:
        return Estimate(sums.errors, sums.words, None, None)
    if errors:
        ends = sums.interval(resampling.confidence)
        return Estimate(sums.errors, sums.words, 100 * sums.rate, ends and ends.percent())
    return Estimate(sums.errors, sums.words, sums.rate, sums.t_interval(resampling.confidence))


def _size(
    own: Sequence[UtteranceCounts],
    rows: Sequence[UtteranceCounts],
    known: bool,
    confidence: float,
    min_speakers: int,
    min_words: int,
) -> CohortSize:
    """The size of a cohort, and its shares of speakers and of audio."""
    inside, everybody = {u.speaker for u in own}, sorted({u.speaker for u in rows})
    words = sum(u.words for u in own)
    by_speaker = SpeakerSums.arrays(
        everybody, [float(s in inside) for s in everybody], [1.0] * len(everybody)
    )
    ids = {u.utterance for u in own}
    by_audio = SpeakerSums.arrays(
        [u.speaker for u in rows],
        [u.seconds * (u.utterance in ids) for u in rows],
        [u.seconds for u in rows],
    )
    return CohortSize(
        speakers=len(inside),
        utterances=len(own),
        words=words,
        seconds=sum(u.seconds for u in own),
        speaker_share=100 * by_speaker.rate,
        speaker_share_interval=_share_interval(by_speaker, confidence),
        audio_share=100 * by_audio.rate,
        audio_share_interval=_share_interval(by_audio, confidence),
        large_enough=known and len(inside) >= min_speakers and words >= max(min_words, 1),
    )


def _share_interval(share: SpeakerSums, confidence: float) -> Interval | None:
    """Interval of a share in per cent, which ends at 100."""
    ends = share.interval(confidence) if share.words > 0 else None
    return ends and Interval(100 * ends.low, min(100.0, 100 * ends.high))


# ---- files


def cohort_scores_file(method: str) -> str:
    """Return the name of the file with the scores by the cohorts of a method's directory."""
    return f"cohort_scores_{method}.json"


@dataclass(frozen=True)
class CohortMap:
    """cohorts.jsonl: the cohort and the half of each speaker or utterance.

    Attributes:
        method: how the cohorts were found.
        cohorts: by id of speaker or utterance.
        splits: by the same; `other` where the file names no half.
    """

    method: str
    cohorts: dict[str, str]
    splits: dict[str, Split]


def read_cohort_map(directory: Path) -> CohortMap:
    """Read cohorts.jsonl of a cohorts directory.

    Raises:
        DataError: the file is missing or broken, or an id has two cohorts or two halves.
    """
    path = directory / COHORTS_FILE
    if not path.exists():
        raise DataError(f"{path}: missing", "name a directory that `cohorts find` wrote")
    cohorts: dict[str, str] = {}
    splits: dict[str, Split] = {}
    method = directory.resolve().name
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            entry = json.loads(line)
            id = str(entry["utterance"] if "utterance" in entry else entry["speaker"])
            cohort, split = str(entry["cohort"]), entry.get("split", "other")
            method = str(entry.get("method", method))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DataError(
                f"{path}: line {number} names no speaker with a cohort", _FIND
            ) from None
        if split not in ("discovery", "confirmation", "other"):
            raise DataError(f"{path}: line {number}: split {split!r} is unknown", _FIND)
        if (cohorts.get(id, cohort), splits.get(id, split)) != (cohort, split):
            raise DataError(f"{path}: {id} has two cohorts or is in both halves", _FIND)
        cohorts[id], splits[id] = cohort, split
    return CohortMap(method, cohorts, splits)


def score_cohorts(
    decode_dir: Path,
    cohorts_dir: Path,
    resampling: Resampling,
    min_speakers: int = 1,
    min_words: int = 1,
) -> CohortScores:
    """Score a decode by cohort and write cohort_scores_METHOD.json beside scores.json.

    Speakers of the two halves of the corpus are scored apart. Speakers without a line in
    cohorts.jsonl form the cohort `unknown`.

    Raises:
        DataError: utt_counts.jsonl or cohorts.jsonl is missing or broken, or no decoded speaker
            has a cohort.
    """
    rows = read_counts(decode_dir / COUNTS_FILE)
    meta = DecodeMeta.from_file(decode_dir / "meta.json", "run the decode stage (5) again")
    found = read_cohort_map(cohorts_dir)
    by_split: dict[Split, list[UtteranceCounts]] = {}
    for row in rows:
        id = row.utterance if row.utterance in found.splits else row.speaker
        by_split.setdefault(found.splits.get(id, "other"), []).append(row)
    if not any(u.speaker in found.cohorts or u.utterance in found.cohorts for u in rows):
        raise DataError(
            f"{cohorts_dir / COHORTS_FILE}: names no speaker of {decode_dir}: the cohorts are of "
            "another corpus",
            "assign its speakers first: python -m asrlib cohorts assign",
        )
    frames = {
        split: cohort_frame(own, found.cohorts, resampling, min_speakers, min_words)
        for split, own in sorted(by_split.items())
    }
    scores = CohortScores(
        version=__version__,
        meta=meta,
        method=found.method,
        frames=frames,
        resampling=resampling,
    )
    scores.to_file(decode_dir / cohort_scores_file(cohorts_dir.resolve().name))
    return scores

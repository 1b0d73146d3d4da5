"""Content of verification.json and of the comparison of two systems.

Rates, their intervals and their differences are in per cent and percentage points.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import computed_field
from scipy.special import ndtri

from asrlib.json_record import JsonRecord
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import Interval


@dataclass(frozen=True)
class Rate(JsonRecord):
    """Share of trials with an error at one threshold.

    Attributes:
        errors, trials: the counts.
        interval: interval of the share, in per cent; None with fewer than two speakers.
    """

    errors: int
    trials: int
    interval: Interval | None

    @computed_field
    @property
    def percent(self) -> float | None:
        """None without trials."""
        return 100 * self.errors / self.trials if self.trials else None


@dataclass(frozen=True)
class EqualErrorRate(JsonRecord):
    """The rate at which misses and false alarms are equally frequent.

    Attributes:
        percent: interpolated between two thresholds.
        interval: its interval, in per cent; None with fewer than two speakers.
        threshold: the threshold at which the two rates are closest.
        misses, targets, false_alarms, impostors: counts at that threshold.
    """

    percent: float
    interval: Interval | None
    threshold: float
    misses: int
    targets: int
    false_alarms: int
    impostors: int


@dataclass(frozen=True)
class GroupRates(JsonRecord):
    """Errors of one group of speakers.

    Attributes:
        value: name of the group.
        speakers: number of its speakers.
        target_speakers: number of them with target trials.
        utterances: number of utterances (or of averaged sides) in its trials.
        misses: at the one threshold; None without target trials or without a threshold.
        false_alarms: at the one threshold; None without impostor trials or without a threshold.
        eer: at a threshold of the group's own; None without target or impostor trials.
        large_enough: whether the group takes part in the gaps.
    """

    value: str
    speakers: int
    target_speakers: int
    utterances: int
    misses: Rate | None
    false_alarms: Rate | None
    eer: EqualErrorRate | None
    large_enough: bool


@dataclass(frozen=True)
class Disparity(JsonRecord):
    """How unequal one metric is over the groups of a column.

    The same speakers select the worst and the best group, so the gap of many groups is too large;
    compare it with `chance`.

    Attributes:
        worst, best: names of the two groups.
        gap: rate of the worst minus rate of the best, in percentage points.
        gap_interval: interval for these two groups; None if one has fewer than two speakers.
        ratio: rate of the worst divided by that of the best; None if the best has no error.
        ratio_interval: its interval.
        spread: population standard deviation of the groups' rates, in percentage points.
        chance: 95th percentile of the gap if the speakers are regrouped at random; None where it
            is not computed, which is so for equal error rates.
        p_value: share of the regroupings with at least the gap; None where not computed.
    """

    worst: str
    best: str
    gap: float
    gap_interval: Interval | None
    ratio: float | None
    ratio_interval: Interval | None
    spread: float
    chance: float | None
    p_value: float | None


@dataclass(frozen=True)
class GroupTable(JsonRecord):
    """The groups of one column.

    Attributes:
        groups: in the order in which they are shown.
        disparities: by metric (`misses`, `false_alarms`, `eer`); without a metric that fewer than
            two large enough groups have.
    """

    groups: tuple[GroupRates, ...]
    disparities: dict[str, Disparity]


@dataclass(frozen=True)
class Threshold(JsonRecord):
    """The one threshold of all speakers.

    Attributes:
        value: a trial with this score or a higher one is accepted.
        rule: how it was fixed: `eer`, `false_alarm`, or `given`.
        dev_speakers: number of dev speakers; 0 if the threshold was given.
        dev_misses, dev_false_alarms: on dev; None if the threshold was given.
        dev_eer: on dev, in per cent; None if the threshold was given.
    """

    value: float
    rule: str
    dev_speakers: int = 0
    dev_misses: Rate | None = None
    dev_false_alarms: Rate | None = None
    dev_eer: float | None = None


@dataclass(frozen=True)
class Verification(JsonRecord):
    """Content of verification.json.

    Attributes:
        version: version of the program that computed the scores.
        name: name of the system, for tables.
        set: name of the test set.
        trials: kind of the trials, see conf/verification.yaml.
        impostors: which impostor trials count for a group, see conf/verification.yaml.
        utterances: number of utterances (or of averaged sides) in the trials.
        unusable: number of utterances left out, because their embedding is not finite or zero, or
            because they have no speaker or several.
        speakers: number of speakers in the trials.
        target_speakers: number of speakers with target trials.
        targets, impostor_trials: numbers of trials.
        eer: None without target or impostor trials, as is `min_dcf`.
        min_dcf: normalised minimum detection cost, whose prior of a target is `p_target`.
        threshold: None if neither dev speakers nor a threshold were given; `misses` and
            `false_alarms` are then None, too.
        misses, false_alarms: at the one threshold.
        groups: by column.
        det: points of the DET curve: false alarms and misses, in per cent.
        resampling: settings of the bootstrap.
        run: identity of the training whose embeddings were scored; None if it is not known.
    """

    version: str
    name: str
    set: str
    trials: str
    impostors: str
    utterances: int
    unusable: int
    speakers: int
    target_speakers: int
    targets: int
    impostor_trials: int
    eer: EqualErrorRate | None
    min_dcf: float | None
    p_target: float
    threshold: Threshold | None
    misses: Rate | None
    false_alarms: Rate | None
    groups: dict[str, GroupTable]
    det: tuple[tuple[float, float], ...]
    resampling: Resampling
    run: str | None = None


@dataclass(frozen=True)
class Change(JsonRecord):
    """Figure of the other system minus that of the baseline, on the same draws of speakers.

    Attributes:
        baseline, other: the two figures, in per cent or percentage points; means over seeds.
        difference: negative if the other system is better.
        interval: of the difference, for other speakers and other seeds; None with fewer than two
            speakers, if neither system makes an error, or if all speakers differ alike.
        each: the difference of each pair of runs, where both systems have as many.
    """

    baseline: float
    other: float
    difference: float
    interval: Interval | None
    each: tuple[float, ...] = ()

    def detectable(self, confidence: float, power: float = 0.8) -> float | None:
        """The smallest change that such an interval would show with a probability of `power`.

        It is (z_confidence + z_power) standard errors, which the width of the interval tells
        (normal approximation). None without an interval.
        """
        if self.interval is None:
            return None
        z = float(ndtri(0.5 + confidence / 2))
        half = (self.interval.high - self.interval.low) / 2
        return half * (1 + float(ndtri(power)) / z)


@dataclass(frozen=True)
class GroupChanges(JsonRecord):
    """Changes of the groups of one column.

    Attributes:
        speakers: number of speakers of the group, some of whom may have no target trial.
        groups: by group, then by metric (`misses`, `false_alarms`, `eer`).
        gaps: by metric: change of the gap between the two groups that are worst and best in the
            baseline.
        worst_and_best: by metric: names of these two groups.
        spreads: by metric: change of the population standard deviation over the groups.
    """

    speakers: dict[str, int]
    groups: dict[str, dict[str, Change]]
    gaps: dict[str, Change]
    worst_and_best: dict[str, tuple[str, str]]
    spreads: dict[str, Change]


@dataclass(frozen=True)
class VerificationComparison(JsonRecord):
    """Output of `python -m asrlib compare-verification`.

    Attributes:
        baseline, other: names of the runs of each system, one for each training seed.
        speakers: number of speakers that were resampled.
        all: by metric, over all speakers.
        groups: by column.
        resampling: settings of the bootstrap.
    """

    baseline: tuple[str, ...]
    other: tuple[str, ...]
    speakers: int
    all: dict[str, Change]
    groups: dict[str, GroupChanges]
    resampling: Resampling


@dataclass(frozen=True, kw_only=True)
class VoicePair(JsonRecord):
    """Two rows, compared on one test set.

    Attributes:
        set: the test set.
        baseline, other: the rows.
        seeds: seeds of the trainings that both rows have.
        found: changes from `baseline` to `other`, means over the seeds.
    """

    set: str
    baseline: str
    other: str
    seeds: tuple[int, ...]
    found: VerificationComparison


@dataclass(frozen=True, kw_only=True)
class VoicePairs(JsonRecord):
    """voice_pairs.json: each row against the reference, and against each control."""

    pairs: tuple[VoicePair, ...]

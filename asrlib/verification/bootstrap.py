"""Intervals of verification errors, computed by resampling the speakers of both sides.

A draw of speakers with replacement gives speaker i the weight w_i. A target trial of speaker i
then weighs w_i, an impostor trial of speakers i and j weighs w_i w_j: it is there as often as both
of its speakers were drawn. Resampling trials would give intervals that are far too narrow, because
all trials of a speaker share the speaker.

The spread of the replicates is the standard error. It is widened by sqrt(G / (G - 1)) for G
speakers and used with Student's t with G - 1 degrees of freedom, for rates on the scale of
log-odds, because the percentiles of the replicates are too narrow for small groups. [choice]
In a simulation with 200 rounds (planted speakers, 6 utterances each), 95 % intervals of misses
contain the truth in 92 to 96 % of cases with 4 speakers, where percentiles have 79 %, and in 94 to
97 % with 20; those of the equal error rate in 94 to 99 %.

Limitation: intervals of false alarms are somewhat too wide, because w_i w_j varies more than it
should where pairs of speakers differ by more than the sum of the two (the pigeonhole bootstrap,
Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007). They covered the truth in 99 %
of cases or more. On speechocean762 (125 speakers) they are 6 to 9 % too wide.

The weights depend on the names of the speakers and the seed alone, so two systems that are scored
on the same speakers see the same draws, and their differences are paired.

Shapes: S speakers, R replicates, T trials, P pairs of speakers, K blocks of trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.special import expit, logit

from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import Interval, poisson_interval, t_quantile
from asrlib.seeds import named_generator
from asrlib.verification.metrics import crossing
from asrlib.verification.scores import ScoredTrials
from asrlib.verification.trials import codes

_BLOCKS = 256  # the curve is searched in two steps: first these blocks, then the trials of one
_ROUNDING = 1e-10  # a spread of fractions that is nothing but rounding
_NUMBERS = 10_000_000  # replicates are computed in parts of at most so many numbers


@dataclass(frozen=True)
class SpeakerTrials:
    """Trials by speaker, in ascending order of their scores.

    Attributes:
        first_T, second_T: number of the enrolled and the tested speaker.
        target_T: whether they are the same speaker.
        scores_T: float64, ascending.
    """

    first_T: np.ndarray
    second_T: np.ndarray
    target_T: np.ndarray
    scores_T: np.ndarray

    @classmethod
    def of(cls, scored: ScoredTrials, both_orders: bool = False) -> SpeakerTrials:
        """Sort scored trials; speakers are numbered in the order of their names.

        Args:
            scored: the trials.
            both_orders: whether a symmetric impostor trial stands twice, with either side enrolled.
                It is then two claims, one on each of its speakers, and false alarms of a group
                count the claims on its speakers: one of a trial with another group, two of a trial
                within the group. So each speaker meets all others alike. A target trial stands
                once, because both orders are a claim of the same speaker on the same voice.
        """
        speaker_N, trials = codes(scored.speakers), scored.trials
        enrol_T, test_T = speaker_N[trials.enrol_T], speaker_N[trials.test_T]
        target_T, scores_T = trials.target_T, scored.scores_T.astype(np.float64)
        if both_orders and trials.symmetric:
            other_T = ~target_T
            enrol_T, test_T = (
                np.append(one_T, two_T[other_T])
                for one_T, two_T in ((enrol_T, test_T), (test_T, enrol_T))
            )
            target_T = np.append(target_T, target_T[other_T])
            scores_T = np.append(scores_T, scores_T[other_T])
        order_T = np.argsort(scores_T, kind="stable")
        return cls(enrol_T[order_T], test_T[order_T], target_T[order_T], scores_T[order_T])

    def keep(self, keep_T: np.ndarray) -> SpeakerTrials:
        """Return the trials that a mask selects."""
        columns = (self.first_T, self.second_T, self.target_T, self.scores_T)
        return SpeakerTrials(*(column_T[keep_T] for column_T in columns))


@dataclass(frozen=True)
class PairCounts:
    """Trials and errors at one threshold, by pair of speakers.

    Attributes:
        first_P, second_P: number of the enrolled and the tested speaker; equal for target trials.
        trials_P, errors_P: numbers of trials and of errors: misses where the two are equal, false
            alarms where they differ.
    """

    first_P: np.ndarray
    second_P: np.ndarray
    trials_P: np.ndarray
    errors_P: np.ndarray

    @classmethod
    def at(cls, trials: SpeakerTrials, threshold: float) -> PairCounts:
        """Count the errors that a threshold makes."""
        accepted_T = trials.scores_T >= threshold
        wide = int(max(trials.first_T.max(), trials.second_T.max())) + 1
        key_T = trials.first_T.astype(np.int64) * wide + trials.second_T
        key_P, pair_T = np.unique(key_T, return_inverse=True)
        errors_T = accepted_T != trials.target_T
        return cls(
            (key_P // wide).astype(np.int32),
            (key_P % wide).astype(np.int32),
            np.bincount(pair_T, minlength=len(key_P)),
            np.bincount(pair_T[errors_T], minlength=len(key_P)),
        )

    def keep(self, keep_P: np.ndarray) -> PairCounts:
        """Return the pairs that a mask selects."""
        columns = (self.first_P, self.second_P, self.trials_P, self.errors_P)
        return PairCounts(*(column_P[keep_P] for column_P in columns))

    def sums(self) -> tuple[int, int]:
        """Return the numbers of errors and of trials."""
        return int(self.errors_P.sum()), int(self.trials_P.sum())

    def replicate(self, weights_SR: np.ndarray) -> np.ndarray:
        """Compute the error rate of each replicate, (R); NaN where no trial is left."""
        parts = []
        for part_SR in _parts(weights_SR, len(self.trials_P)):
            weight_PR = _weights(self.first_P, self.second_P, part_SR)
            parts.append(_ratio(self.errors_P @ weight_PR, self.trials_P @ weight_PR))
        return np.concatenate(parts)


@dataclass(frozen=True)
class Replicated:
    """A figure with its replicates.

    Attributes:
        value: the figure.
        deviations_R: its replicates minus their mean, widened for the number of speakers.
        speakers: number of speakers that were resampled.
        utterances: number of utterances in the trials.
    """

    value: float
    deviations_R: np.ndarray
    speakers: int
    utterances: int

    @classmethod
    def of(
        cls, value: float, replicates_R: np.ndarray, speakers: int, utterances: int
    ) -> Replicated:
        """Build it from raw replicates, of which those that are NaN count as the mean."""
        finite_R = np.isfinite(replicates_R)
        if speakers < 2 or not finite_R.any():
            return cls(value, np.zeros(len(replicates_R)), speakers, utterances)
        centred_R = np.where(finite_R, replicates_R - replicates_R[finite_R].mean(), 0.0)
        widened_R = centred_R * math.sqrt(speakers / (speakers - 1))
        return cls(value, widened_R, speakers, utterances)

    @property
    def standard_error(self) -> float:
        return float(self.deviations_R.std())

    def minus(self, other: Replicated) -> Replicated:
        """Subtract a figure, replicate by replicate."""
        deviations_R = self.deviations_R - other.deviations_R
        return combined([self, other], self.value - other.value, deviations_R)

    def rate_interval(self, confidence: float) -> Interval | None:
        """Compute the interval of a rate, a fraction.

        Without an error (or without a success) no replicate has one. The end is then the exact
        Poisson bound as if each utterance were one trial: the trials of one utterance are not
        independent, so counting them would give an end that is too low. Where all speakers have
        the same rate, both ends are such bounds. [choice]

        Returns:
            The interval; None with fewer than two speakers, and with two whose replicates are
            equal: they are one pair of speakers, which shows no spread of false alarms.
        """
        if self.speakers < 2:
            return None
        if self.value <= 0 or self.value >= 1:
            bound = min(1.0, -math.log((1 - confidence) / 2) / self.utterances)
            return Interval(0.0, bound) if self.value <= 0 else Interval(1 - bound, 1.0)
        if self.standard_error < _ROUNDING:
            if self.speakers == 2:
                return None
            errors = self.value * self.utterances
            low, high = poisson_interval(errors, self.utterances, confidence)
            return Interval(low, min(1.0, high))
        error = self.standard_error / (self.value * (1 - self.value))
        half = t_quantile(confidence, self.speakers - 1) * error
        low, high = expit(logit(self.value) + np.array([-half, half]))
        return Interval(float(low), float(high))


def mean_of(figures: Sequence[Replicated]) -> Replicated:
    """Average figures of several training seeds, replicate by replicate."""
    deviations_R = np.mean([f.deviations_R for f in figures], axis=0)
    value = float(np.mean([f.value for f in figures]))
    return combined(figures, value, deviations_R)


def combined(figures: Sequence[Replicated], value: float, deviations_R: np.ndarray) -> Replicated:
    """Make a figure of others; its number of speakers is the smallest of theirs, to be careful."""
    speakers = min(f.speakers for f in figures)
    return Replicated(value, deviations_R, speakers, min(f.utterances for f in figures))


def draw_weights(strata: dict[str, np.ndarray], count: int, resampling: Resampling) -> np.ndarray:
    """Draw the speakers of each stratum with replacement.

    Args:
        strata: for each stratum, the numbers of its speakers; other speakers weigh zero.
        count: S, the number of all speakers.
        resampling: number of replicates and seed.

    Returns:
        How often each speaker is drawn, float64 (S, R).
    """
    weights_SR = np.zeros((count, resampling.replicates))
    for name, members in strata.items():
        rng = named_generator(resampling.seed, name)
        drawn = rng.integers(0, len(members), size=(resampling.replicates, len(members)))
        for r, row in enumerate(drawn):
            weights_SR[members, r] = np.bincount(row, minlength=len(members))
    return weights_SR


def eer_replicates(trials: SpeakerTrials, weights_SR: np.ndarray) -> np.ndarray:
    """Compute the equal error rate of each replicate, exactly.

    The trials are sorted once. Sums over blocks of trials, which are a sparse product with the
    weights of the pairs of speakers, say in which block the two error rates cross; only the trials
    of that block are then weighted one by one.

    Returns:
        Equal error rates, fractions, (R); NaN where a replicate lacks targets or impostors.
    """
    edges_K = _block_edges(trials.scores_T)
    block_T = np.repeat(np.arange(len(edges_K) - 1), np.diff(edges_K))
    target, impostor = (
        _BlockSums(trials, block_T, len(edges_K) - 1, kind_T)
        for kind_T in (trials.target_T, ~trials.target_T)
    )
    parts = []
    for part_SR in _parts(
        weights_SR, max(target.pairs, impostor.pairs, int(np.diff(edges_K).max()))
    ):
        miss_KR, below_KR = _cumulate(target.of(part_SR)), _cumulate(impostor.of(part_SR))
        eer_R = np.full(part_SR.shape[1], np.nan)
        usable_R = (miss_KR[-1] > 0) & (below_KR[-1] > 0)
        with np.errstate(invalid="ignore"):
            alarm_KR = (below_KR[-1] - below_KR) / below_KR[-1]
            rising_KR = miss_KR / miss_KR[-1] - alarm_KR
        block_R = np.argmax(rising_KR >= 0, axis=0) - 1
        for block in np.unique(block_R[usable_R]):
            chosen = np.flatnonzero(usable_R & (block_R == block))
            inside = slice(edges_K[block], edges_K[block + 1])
            sums = miss_KR[[block, -1]][:, chosen], below_KR[[block, -1]][:, chosen]
            eer_R[chosen] = _search_block(trials, inside, part_SR[:, chosen], *sums)
        parts.append(eer_R)
    return np.concatenate(parts)


def _search_block(
    trials: SpeakerTrials,
    inside: slice,
    weights_SR: np.ndarray,
    target_2R: np.ndarray,
    impostor_2R: np.ndarray,
) -> np.ndarray:
    """Find the crossing among the trials of one block.

    Args:
        target_2R, impostor_2R: sums of the weights below the block, and of all trials.
    """
    target_T, scores_T = trials.target_T[inside], trials.scores_T[inside]
    weight_TR = _weights(trials.first_T[inside], trials.second_T[inside], weights_SR)
    ends_K = np.append(np.flatnonzero(scores_T[1:] != scores_T[:-1]) + 1, len(scores_T))
    points_K = np.concatenate([[0], ends_K])
    target_KR = _cumulate(weight_TR * target_T[:, None])[points_K] + target_2R[0]
    impostor_KR = _cumulate(weight_TR * ~target_T[:, None])[points_K] + impostor_2R[0]
    miss_KR = target_KR / target_2R[1]
    false_alarm_KR = (impostor_2R[1] - impostor_KR) / impostor_2R[1]
    columns = zip(miss_KR.T, false_alarm_KR.T, strict=True)
    return np.array([crossing(miss_K, alarm_K)[0] for miss_K, alarm_K in columns])


class _BlockSums:
    """Sums the weights of the trials of one kind in each block."""

    def __init__(
        self, trials: SpeakerTrials, block_T: np.ndarray, blocks: int, kind_T: np.ndarray
    ) -> None:
        first_T, second_T = trials.first_T[kind_T], trials.second_T[kind_T]
        # The order of the two speakers does not change the weight.
        low_T, high_T = np.minimum(first_T, second_T), np.maximum(first_T, second_T)
        wide = int(high_T.max(initial=0)) + 1
        key_P, pair_T = np.unique(low_T.astype(np.int64) * wide + high_T, return_inverse=True)
        self._first_P, self._second_P = key_P // wide, key_P % wide
        self.pairs = len(key_P)
        ones_T = np.ones(len(pair_T))
        shape = (blocks, len(key_P))
        self._counts_KP = coo_array((ones_T, (block_T[kind_T], pair_T)), shape=shape).tocsr()

    def of(self, weights_SR: np.ndarray) -> np.ndarray:
        return self._counts_KP @ _weights(self._first_P, self._second_P, weights_SR)


def _parts(weights_SR: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    """Divide the replicates so that a part, with a number for each of `rows`, fits into memory."""
    size = max(1, _NUMBERS // max(rows, 1))
    for start in range(0, weights_SR.shape[1], size):
        yield weights_SR[:, start : start + size]


def _block_edges(scores_T: np.ndarray) -> np.ndarray:
    """Divide sorted trials into blocks; equal scores are in the same block."""
    places = np.linspace(0, len(scores_T), _BLOCKS + 1).astype(np.int64)[:-1]
    starts = np.searchsorted(scores_T, scores_T[places], side="left")
    return np.append(np.unique(starts), len(scores_T))


def _weights(first: np.ndarray, second: np.ndarray, weights_SR: np.ndarray) -> np.ndarray:
    """Weigh pairs of speakers: w_i if both sides are speaker i, else w_i w_j."""
    first_PR = weights_SR[first]
    return np.where((first == second)[:, None], first_PR, first_PR * weights_SR[second])


def _cumulate(values_KR: np.ndarray) -> np.ndarray:
    """Sum the rows before each position, and all rows, (K + 1, R)."""
    zero_1R = np.zeros((1, values_KR.shape[1]))
    return np.concatenate([zero_1R, np.cumsum(values_KR, axis=0)])


def _ratio(errors_R: np.ndarray, trials_R: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(trials_R > 0, errors_R / trials_R, np.nan)

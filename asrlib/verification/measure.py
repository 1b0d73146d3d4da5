"""Measure the groups of one column: misses, false alarms and equal error rate, with replicates.

Shapes: S speakers in the order of their names, N rows of the table, R replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from asrlib.scoring.bootstrap import Interval, Resampling
from asrlib.verification.bootstrap import (
    PairCounts,
    Replicated,
    SpeakerTrials,
    draw_weights,
    eer_replicates,
)
from asrlib.verification.groups import Column, in_group
from asrlib.verification.metrics import DetCurve, equal_errors, sorted_curve
from asrlib.verification.records import EqualErrorRate, GroupRates, Rate
from asrlib.verification.scores import ScoredTrials
from asrlib.verification.trials import codes

Metric = Literal["misses", "false_alarms", "eer"]
METRICS: tuple[Metric, ...] = ("misses", "false_alarms", "eer")
Impostors = Literal["same_group", "enrolled"]


@dataclass(frozen=True)
class Rows:
    """Numbers of rows of the table (utterances or averaged sides) that occur in trials.

    Attributes:
        any_S, target_S: of each speaker, in all trials and in target trials.
    """

    any_S: np.ndarray
    target_S: np.ndarray

    @classmethod
    def of(cls, scored: ScoredTrials) -> Rows:
        speaker_N, trials = codes(scored.speakers), scored.trials
        count, kinds = int(speaker_N.max()) + 1, (slice(None), trials.target_T)
        sides = [np.append(trials.enrol_T[kind], trials.test_T[kind]) for kind in kinds]
        return cls(*(np.bincount(speaker_N[np.unique(s)], minlength=count) for s in sides))


@dataclass(frozen=True)
class GroupFigures:
    """Figures of one group.

    Attributes:
        rates: what is reported.
        replicated: the figures with their replicates, fractions, by metric.
    """

    rates: GroupRates
    replicated: dict[Metric, Replicated]


@dataclass(frozen=True)
class Evidence:
    """Scored trials of one system, sorted and counted once for all columns.

    Attributes:
        trials: all trials.
        counts: errors at the one threshold; None without a threshold.
        rows: numbers of utterances.
        resampling: settings of the bootstrap.
    """

    trials: SpeakerTrials
    counts: PairCounts | None
    rows: Rows
    resampling: Resampling

    @classmethod
    def of(
        cls,
        scored: ScoredTrials,
        threshold: float | None,
        resampling: Resampling,
        both_orders: bool = False,
    ) -> Evidence:
        """Sort and count the trials; see `SpeakerTrials.of` for `both_orders`."""
        trials = SpeakerTrials.of(scored, both_orders)
        counts = None if threshold is None else PairCounts.at(trials, threshold)
        return cls(trials, counts, Rows.of(scored), resampling)

    def measure(
        self, column: Column, impostors: Impostors, min_speakers: int
    ) -> dict[str, GroupFigures]:
        """Measure each group of a column.

        Args:
            column: the groups.
            impostors: which impostor trials belong to a group.
            min_speakers: smallest number of speakers with which a group takes part in the gaps.
        """
        weights_SR = draw_weights(column.strata(), len(column.group_S), self.resampling)
        figures = {}
        for group, value in enumerate(column.values):
            members_S = (column.group_S == group) & (self.rows.any_S > 0)
            if members_S.any():
                measured = self._group(column, group, impostors, weights_SR)
                figures[value] = self._report(value, members_S, measured, min_speakers)
        return figures

    def _group(
        self, column: Column, group: int, impostors: Impostors, weights_SR: np.ndarray
    ) -> _Measured:
        trials, counts = self.trials, self.counts
        inside_T = in_group(column.group_S, group, trials.first_T, trials.second_T, impostors)
        own = trials.keep(inside_T)
        targets = int(own.target_T.sum())
        complete = 0 < targets < len(own.target_T)
        curve = sorted_curve(own.scores_T, own.target_T) if complete else None
        eer_R = eer_replicates(own, weights_SR) if complete else None
        if counts is None:
            return _Measured(None, None, curve, eer_R, {})
        inside_P = in_group(column.group_S, group, counts.first_P, counts.second_P, impostors)
        target_P = counts.first_P == counts.second_P
        misses, alarms = counts.keep(inside_P & target_P), counts.keep(inside_P & ~target_P)
        replicates: dict[Metric, np.ndarray] = {}
        if misses.sums()[1]:
            replicates["misses"] = misses.replicate(weights_SR)
        if alarms.sums()[1]:
            replicates["false_alarms"] = alarms.replicate(weights_SR)
        return _Measured(misses.sums(), alarms.sums(), curve, eer_R, replicates)

    def _report(
        self, value: str, members_S: np.ndarray, measured: _Measured, min_speakers: int
    ) -> GroupFigures:
        confidence = self.resampling.confidence
        target_S = members_S & (self.rows.target_S > 0)
        speakers, target_speakers = int(members_S.sum()), int(target_S.sum())
        utterances = int(self.rows.any_S[members_S].sum())
        target_utterances = int(self.rows.target_S[target_S].sum())
        replicated: dict[Metric, Replicated] = {}

        def rate(
            metric: Metric, sums: tuple[int, int] | None, drawn: int, independent: int
        ) -> Rate | None:
            if sums is None or not sums[1]:
                return None
            errors, trials = sums
            figure = Replicated.of(errors / trials, measured.replicates[metric], drawn)
            replicated[metric] = figure
            ends = figure.rate_interval(confidence, min(independent, trials))
            return Rate(errors, trials, ends and ends.percent())

        misses = rate("misses", measured.misses, target_speakers, target_utterances)
        alarms = rate("false_alarms", measured.false_alarms, speakers, utterances)
        eer = None
        if measured.curve is not None and measured.eer_R is not None:
            at = equal_errors(measured.curve)
            figure = Replicated.of(at.rate, measured.eer_R, target_speakers)
            replicated["eer"] = figure
            independent = min(target_utterances, measured.curve.targets)
            ends = figure.rate_interval(confidence, independent)
            eer = equal_error_record(measured.curve, ends and ends.percent())
        rates = GroupRates(
            value=value,
            speakers=speakers,
            target_speakers=target_speakers,
            utterances=utterances,
            misses=misses,
            false_alarms=alarms,
            eer=eer,
            large_enough=(target_speakers or speakers) >= min_speakers,
        )
        return GroupFigures(rates, replicated)


@dataclass(frozen=True)
class _Measured:
    """Sums (errors, trials), the curve, and the replicates of one group."""

    misses: tuple[int, int] | None
    false_alarms: tuple[int, int] | None
    curve: DetCurve | None
    eer_R: np.ndarray | None
    replicates: dict[Metric, np.ndarray]


def equal_error_record(curve: DetCurve, interval: Interval | None) -> EqualErrorRate:
    """Describe the equal error rate of a curve, with an interval in per cent."""
    at = equal_errors(curve)
    return EqualErrorRate(
        percent=100 * at.rate,
        interval=interval,
        threshold=curve.between(at.index),
        misses=int(curve.misses_K[at.index]),
        targets=curve.targets,
        false_alarms=int(curve.false_alarms_K[at.index]),
        impostors=curve.impostors,
    )

"""Measure the groups of one column: misses, false alarms and equal error rate, with replicates.

Shapes: S speakers in the order of their names, N rows of the table, R replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import Interval
from asrlib.verification.bootstrap import (
    PairCounts,
    Replicated,
    SpeakerTrials,
    draw_weights,
    eer_replicates,
)
from asrlib.verification.groups import Column, Impostors, Inside
from asrlib.verification.metrics import DetCurve, equal_errors, sorted_curve
from asrlib.verification.records import EqualErrorRate, GroupRates, Rate
from asrlib.verification.scores import ScoredTrials
from asrlib.verification.trials import codes

Metric = Literal["misses", "false_alarms", "eer"]
METRICS: tuple[Metric, ...] = ("misses", "false_alarms", "eer")
TITLES: dict[str, str] = dict(zip(METRICS, ("misses", "false alarms", "EER"), strict=True))


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
                inside = Inside(column.group_S, group, impostors)
                figures[value] = self._group(value, members_S, inside, weights_SR, min_speakers)
        return figures

    def _group(
        self,
        value: str,
        members_S: np.ndarray,
        inside: Inside,
        weights_SR: np.ndarray,
        min_speakers: int,
    ) -> GroupFigures:
        target_S = members_S & (self.rows.target_S > 0)
        speakers, target_speakers = int(members_S.sum()), int(target_S.sum())
        utterances = int(self.rows.any_S[members_S].sum())
        target_utterances = int(self.rows.target_S[target_S].sum())
        rates: dict[Metric, Rate] = {}
        replicated: dict[Metric, Replicated] = {}
        for metric, counts in self._counts(inside).items():
            errors, trials = counts.sums()
            if not trials:
                continue
            sizes = (
                (target_speakers, min(target_utterances, trials))
                if metric == "misses"
                else (speakers, min(utterances, trials))
            )
            figure = Replicated.of(errors / trials, counts.replicate(weights_SR), *sizes)
            rates[metric] = Rate(errors, trials, self._ends(figure))
            replicated[metric] = figure
        own = self.trials.keep(inside.of(self.trials.first_T, self.trials.second_T))
        eer = None
        if 0 < own.target_T.sum() < len(own.target_T):
            curve = sorted_curve(own.scores_T, own.target_T)
            sizes = target_speakers, min(target_utterances, curve.targets)
            eer_R = eer_replicates(own, weights_SR)
            replicated["eer"] = Replicated.of(equal_errors(curve).rate, eer_R, *sizes)
            eer = _equal_error_rate(curve, self._ends(replicated["eer"]))
        found = GroupRates(
            value=value,
            speakers=speakers,
            target_speakers=target_speakers,
            utterances=utterances,
            misses=rates.get("misses"),
            false_alarms=rates.get("false_alarms"),
            eer=eer,
            large_enough=(target_speakers or speakers) >= min_speakers,
        )
        return GroupFigures(found, replicated)

    def _counts(self, inside: Inside) -> dict[Metric, PairCounts]:
        if self.counts is None:
            return {}
        own = self.counts.keep(inside.of(self.counts.first_P, self.counts.second_P))
        target_P = own.first_P == own.second_P
        return {"misses": own.keep(target_P), "false_alarms": own.keep(~target_P)}

    def _ends(self, figure: Replicated) -> Interval | None:
        ends = figure.rate_interval(self.resampling.confidence)
        return ends and ends.percent()


def _equal_error_rate(curve: DetCurve, interval: Interval | None) -> EqualErrorRate:
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

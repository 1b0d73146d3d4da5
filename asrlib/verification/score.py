"""Score speaker verification on a test set, by group, at one threshold fixed on dev speakers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asrlib import __version__
from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import DataError
from asrlib.verification.config import VerificationConfig
from asrlib.verification.groups import ALL, Column, everyone
from asrlib.verification.inequality import chance_gap, comparable, disparity
from asrlib.verification.measure import (
    METRICS,
    Evidence,
    GroupFigures,
)
from asrlib.verification.metrics import (
    at_false_alarm,
    curve_points,
    det_curve,
    equal_errors,
    min_dcf,
)
from asrlib.verification.records import Disparity, GroupTable, Rate, Threshold, Verification
from asrlib.verification.scores import ScoredTrials, cosine_scores
from asrlib.verification.trial_list import read_trials
from asrlib.verification.trials import (
    Trials,
    all_pairs,
    enrol_and_test,
    same_group,
    without_idle_rows,
)

log = logging.getLogger(__name__)

VERIFICATION_FILE = "verification.json"
# Version of the files that score-verification writes; see asrlib.stamps.
VERIFICATION_VERSION = 3

_SHOWN = 5
_FEW_SPEAKERS = 10


@dataclass(frozen=True)
class TrialSource:
    """What trials are made of.

    Attributes:
        table: embeddings of the utterances.
        sessions: session of each utterance; one that is missing is a session of its own.
        values: value of each utterance in which the utterances of both sides differ (`trials:
            enrol`); None if all may be combined.
        metadata: columns of each speaker (`trials: same_group`).
        trial_list: file of trials (`trials: list`); None if there is none.
    """

    table: EmbeddingTable
    sessions: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] | None = None
    metadata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    trial_list: Path | None = None


def usable(table: EmbeddingTable, name: str) -> EmbeddingTable:
    """Return the embeddings that have a direction: those that are finite and not zero.

    Utterances that are left out are named in a warning.

    Args:
        table: embeddings.
        name: name of the table, for messages.

    Raises:
        DataError: no embedding is left.
    """
    finite = table.finite()
    keep_N = np.linalg.norm(finite.vectors_ND, axis=1) > 0
    kept = EmbeddingTable(
        tuple(i for i, keep in zip(finite.ids, keep_N, strict=True) if keep),
        tuple(s for s, keep in zip(finite.speakers, keep_N, strict=True) if keep),
        finite.vectors_ND[keep_N],
    )
    remaining = set(kept.ids)
    lost = [i for i in table.ids if i not in remaining]
    if lost:
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        log.warning(
            "%s: %d utterances are left out: their embeddings are not finite or zero: %s%s",
            *(name, len(lost), ", ".join(lost[:_SHOWN]), more),
        )
    if not kept.ids:
        raise DataError(f"{name}: holds no usable embedding", "look for silence in the audio")
    return kept


def score_trials(source: TrialSource, config: VerificationConfig, name: str) -> ScoredTrials:
    """Make the trials that the configuration asks for, and score them.

    Args:
        source: embeddings and facts about them.
        config: configuration.
        name: name of the set, for messages.

    Raises:
        DataError: there is no trial.
    """
    table, trials = _make_trials(source, config)
    if not len(trials):
        raise DataError(
            f"{name}: makes no trial ({len(table.ids)} utterances, trials: {config.trials})",
            "embed at least two utterances, or choose another kind of verification.trials",
        )
    targets = int(trials.target_T.sum())
    if not targets:
        log.warning(
            "%s: has no target trial (two utterances of one speaker from different sessions), so "
            "there are no misses and no equal error rate",
            name,
        )
    if targets == len(trials):
        log.warning(
            "%s: has no impostor trial, so there are no false alarms and no equal error rate", name
        )
    return cosine_scores(table, trials)


def _make_trials(source: TrialSource, config: VerificationConfig) -> tuple[EmbeddingTable, Trials]:
    table = source.table
    if config.trials == "list":
        if source.trial_list is None:
            raise DataError(
                "trials: list: no list of trials is given", "give --trials and --dev-trials"
            )
        return without_idle_rows(table, read_trials(source.trial_list, table))
    if config.trials == "enrol":
        return enrol_and_test(table, config.enrol, source.values, source.sessions, config.seed)
    pairs = all_pairs(table, source.sessions)
    if config.trials == "same_group":
        groups = {}
        for speaker in set(table.speakers):
            facts = [source.metadata.get(speaker, {}).get(c, "") for c in config.same_group]
            if all(facts):
                groups[speaker] = "\t".join(facts)
        pairs = same_group(pairs, table.speakers, groups)
    return table, pairs


def fix_threshold(scored: ScoredTrials, config: VerificationConfig, name: str) -> Threshold:
    """Fix the threshold on the trials of dev speakers.

    Args:
        scored: trials of the dev set.
        config: configuration.
        name: name of the dev set, for messages.

    Raises:
        DataError: the dev set lacks targets or impostors.
    """
    curve = det_curve(scored.scores_T, scored.trials.target_T)
    if curve is None:
        raise DataError(
            f"{name}: has no target or no impostor trial, so it fixes no threshold",
            "hold out several dev speakers with several utterances each",
        )
    target_N = scored.trials.enrol_T[scored.trials.target_T]
    drawn = len({scored.speakers[row] for row in target_N.tolist()})
    if drawn < _FEW_SPEAKERS:
        log.warning(
            "%s: only %d speakers with target trials fix the threshold, so it may be far off",
            *(name, drawn),
        )
    eer = equal_errors(curve)
    fixed_on_eer = config.threshold == "eer"
    k = eer.index if fixed_on_eer else at_false_alarm(curve, config.dev_false_alarm)
    return Threshold(
        value=curve.between(k),
        rule=config.threshold,
        dev_speakers=len(set(scored.speakers)),
        dev_misses=Rate(int(curve.misses_K[k]), curve.targets, None),
        dev_false_alarms=Rate(int(curve.false_alarms_K[k]), curve.impostors, None),
        dev_eer=100 * eer.rate,
    )


def judge(
    scored: ScoredTrials,
    threshold: Threshold | None,
    make_columns: Callable[[Sequence[str]], Sequence[Column]],
    config: VerificationConfig,
    min_speakers: int,
    name: str,
    test_set: str,
    unusable: int = 0,
) -> Verification:
    """Compute all metrics of scored trials.

    Args:
        scored: trials of the test set.
        threshold: the one threshold; None if there is none.
        make_columns: divides the speakers, sorted by name, into groups.
        config: configuration.
        min_speakers: smallest number of speakers with which a group takes part in the gaps.
        name: name of the system.
        test_set: name of the set.
        unusable: number of utterances that were left out.
    """
    speakers = sorted(set(scored.speakers))
    value = None if threshold is None else threshold.value
    evidence = Evidence.of(scored, value, config.resampling)
    total = evidence.measure(everyone(len(speakers)), "same_group", min_speakers)[ALL].rates
    both = config.impostors == "enrolled"
    by_group = Evidence.of(scored, value, config.resampling, both_orders=True) if both else evidence
    tables = {}
    for column in make_columns(speakers):
        figures = by_group.measure(column, config.impostors, min_speakers)
        tables[column.name] = GroupTable(
            groups=tuple(figure.rates for figure in figures.values()),
            disparities=_disparities(figures, by_group, column, config),
        )
    curve = det_curve(scored.scores_T, scored.trials.target_T)
    costs = config.p_target, config.cost_miss, config.cost_false_alarm
    targets = int(scored.trials.target_T.sum())
    return Verification(
        version=__version__,
        name=name,
        set=test_set,
        trials=config.trials,
        impostors=config.impostors,
        utterances=total.utterances,
        unusable=unusable,
        speakers=total.speakers,
        target_speakers=total.target_speakers,
        targets=targets,
        impostor_trials=len(scored.trials) - targets,
        eer=total.eer,
        min_dcf=None if curve is None else min_dcf(curve, *costs),
        p_target=config.p_target,
        threshold=threshold,
        misses=total.misses,
        false_alarms=total.false_alarms,
        groups=tables,
        det=() if curve is None else tuple(curve_points(curve)),
        resampling=config.resampling,
    )


def _disparities(
    figures: Mapping[str, GroupFigures],
    evidence: Evidence,
    column: Column,
    config: VerificationConfig,
) -> dict[str, Disparity]:
    found: dict[str, Disparity] = {}
    for metric in METRICS:
        groups = comparable(figures, metric)
        chance = None
        if evidence.counts is not None and metric != "eer" and len(groups) > 1:
            chance = chance_gap(
                evidence.counts,
                column,
                list(groups),
                metric,
                config.impostors,
                config.permutations,
                config.seed,
            )
        unequal = disparity(groups, config.confidence, chance)
        if unequal is not None:
            found[metric] = unequal
    return found

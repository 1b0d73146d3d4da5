"""Score speaker verification on a test set, by group, at one threshold fixed on dev speakers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asrlib import __version__
from asrlib.embedding_table import EmbeddingTable
from asrlib.errors import ConfigError, DataError, first_few
from asrlib.verification.config import VerificationConfig
from asrlib.verification.groups import ALL, Column, everyone
from asrlib.verification.inequality import chance_gap, comparable, disparity
from asrlib.verification.measure import (
    METRICS,
    Evidence,
    GroupFigures,
    Rows,
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
VERIFICATION_VERSION = 5

_FEW_SPEAKERS = 10
_NO_FACTS = {"speaker", "set"}  # columns of the speaker table that put nobody into a group


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
    """Return the embeddings of known speakers that have a direction: are finite and not zero.

    An utterance of an unknown speaker, or of several, has the speaker "". Any two of them may or
    may not have the same voice, so they make no trial. Utterances that are left out are named in
    warnings.

    Args:
        table: embeddings.
        name: name of the table, for messages.

    Raises:
        DataError: no embedding is left.
    """
    with np.errstate(invalid="ignore"):
        length_N = np.linalg.norm(table.vectors_ND, axis=1)
    directed_N = np.isfinite(table.vectors_ND).all(axis=1) & (length_N > 0)
    known_N = np.array([bool(speaker.strip()) for speaker in table.speakers], dtype=bool)
    for keep_N, reason in (
        (directed_N, "their embeddings are not finite or zero"),
        (known_N, "they have no speaker or several, so nobody knows whether two of them match"),
    ):
        lost = [i for i, keep in zip(table.ids, keep_N, strict=True) if not keep]
        if lost:
            log.warning(
                "%s: %d utterances are left out: %s: %s", name, len(lost), reason, first_few(lost)
            )
    if table.ids and not known_N.any():
        raise DataError(
            f"{name}: names the speaker of no utterance",
            "check that the corpus names the speaker of each utterance (stage 1), and embed again",
        )
    keep_N = directed_N & known_N
    if not keep_N.any():
        raise DataError(f"{name}: holds no usable embedding", "look for silence in the audio")
    return EmbeddingTable(
        tuple(i for i, keep in zip(table.ids, keep_N, strict=True) if keep),
        tuple(s for s, keep in zip(table.speakers, keep_N, strict=True) if keep),
        table.vectors_ND[keep_N],
    )


def score_trials(source: TrialSource, config: VerificationConfig, name: str) -> ScoredTrials:
    """Make the trials that the configuration asks for, and score them.

    Warnings say what these trials cannot show.

    Args:
        source: embeddings and facts about them.
        config: configuration.
        name: name of the set, for messages.

    Raises:
        DataError: there is no trial.
        ConfigError: `same_group` names a column that the speaker table lacks.
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
    scored = cosine_scores(table, trials)
    if targets:
        _warn_of_lone_speakers(scored, name)
    return scored


def _warn_of_lone_speakers(scored: ScoredTrials, name: str) -> None:
    """Warn of speakers without a target trial, on whom no miss and no equal error rate rests."""
    rows, speakers = Rows.of(scored), sorted(set(scored.speakers))
    lone_S = (rows.any_S > 0) & (rows.target_S == 0)
    if not lone_S.any():
        return
    log.warning(
        "%s: %d of %d speakers have no target trial (%d of them have one utterance in the trials), "
        "so misses and equal error rates say nothing about them: %s",
        *(name, lone_S.sum(), (rows.any_S > 0).sum(), (lone_S & (rows.any_S == 1)).sum()),
        first_few([speakers[s] for s in np.flatnonzero(lone_S)]),
    )


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
        _check_columns(config.same_group, source.metadata)
        groups = {}
        for speaker in set(table.speakers):
            facts = [source.metadata.get(speaker, {}).get(c, "") for c in config.same_group]
            if all(facts):
                groups[speaker] = "\t".join(facts)
        pairs = same_group(pairs, table.speakers, groups)
    return table, pairs


def _check_columns(names: Sequence[str], metadata: Mapping[str, Mapping[str, str]]) -> None:
    """Raise a ConfigError for names that are no columns of the speaker table."""
    known = sorted({column for facts in metadata.values() for column in facts} - _NO_FACTS)
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    if not known:
        raise ConfigError(
            f"verification.same_group: {', '.join(unknown)}, but the speaker table "
            "(data/speakers.tsv) is missing or holds no facts",
            "give the corpus a table of its speakers (stage 1), or choose verification.trials=all",
        )
    raise ConfigError(
        f"verification.same_group: {', '.join(unknown)}: no fact of the speaker table "
        f"(data/speakers.tsv), whose columns are {', '.join(known)}",
        "name some of these columns, or choose verification.trials=all",
    )


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
        lacking = "target" if not scored.trials.target_T.any() else "impostor"
        raise DataError(
            f"{name}: has no {lacking} trial (verification.trials: {config.trials}), so it fixes "
            "no threshold",
            "hold out several dev speakers with several utterances each, or choose another kind "
            "of verification.trials",
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
                config.resampling.permutations,
                config.seed,
            )
        unequal = disparity(groups, config.confidence, chance)
        if unequal is not None:
            found[metric] = unequal
    return found

import json
import logging

import numpy as np
import pytest
from verification_fakes import planted_table, scored

from asrlib.errors import DataError
from asrlib.scoring.gaps import Resampling
from asrlib.verification.groups import Column, cohort_column, metadata_columns
from asrlib.verification.inequality import chance_gap, comparable, disparity
from asrlib.verification.measure import Evidence
from asrlib.verification.scores import cosine_scores
from asrlib.verification.trials import all_pairs

FEW = Resampling(replicates=200)


def names(column):
    return [column.values[g] if g >= 0 else None for g in column.group_S]


def test_columns_are_values_or_bands_and_the_unknown_comes_last(caplog):
    metadata = {
        "a": {"gender": "m", "age": "9"},
        "b": {"gender": "f", "age": "40"},
        "c": {"gender": "", "age": "x"},
    }
    with caplog.at_level(logging.DEBUG):
        columns = metadata_columns("abcd", metadata, ["shoe", "gender", "age"], {"age": [10, 16]})
    assert [c.name for c in columns] == ["gender", "age"]
    assert columns[0].values == ("f", "m", "unknown")
    assert names(columns[0]) == ["m", "f", "unknown", "unknown"]
    assert columns[1].values == ("<10", ">=16", "unknown")
    assert "shoe" in caplog.text


def write_cohorts(directory, rows):
    lines = [
        json.dumps({"speaker": s, "cohort": c, "method": "tree", "split": split})
        for s, c, split in rows
    ]
    (directory / "cohorts.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_cohorts_are_judged_on_speakers_on_whom_they_were_not_found(tmp_path, caplog):
    rows = [("a", "top", "confirmation"), ("b", "bottom", "confirmation")]
    write_cohorts(tmp_path, [*rows, ("c", "bottom", "discovery"), ("x", "rest", "confirmation")])
    with caplog.at_level(logging.WARNING):
        column = cohort_column("abcd", tmp_path)
    assert (column.name, column.values) == (f"cohort by {tmp_path.name}", ("bottom", "top"))
    assert names(column) == ["top", "bottom", None, None]
    assert "1 speakers are in no group" in caplog.text


def test_speakers_of_neither_half_are_judged(tmp_path):
    (tmp_path / "cohorts.jsonl").write_text('{"speaker": "a", "cohort": "top"}\n')
    assert names(cohort_column("ab", tmp_path)) == ["top", None]


@pytest.mark.parametrize("content", [None, "{", '{"speaker": "a"}\n', "[1]\n", ""])
def test_unusable_cohorts_are_an_error(tmp_path, content):
    if content is not None:
        (tmp_path / "cohorts.jsonl").write_text(content)
    with pytest.raises(DataError, match=r"cohorts\.jsonl"):
        cohort_column("ab", tmp_path)


def test_rates_of_groups_by_hand():
    rows = [
        *[("a", "a", 0.9), ("a", "a", 0.1), ("b", "b", 0.9)],  # f: 1 of 3 missed
        *[("a", "b", 0.8), ("b", "a", 0.2)],  # f: 1 of 2 accepted
        *[("c", "c", 0.9), ("c", "d", 0.1)],  # m: none of 1, none of 1
        *[("a", "c", 0.7), ("c", "a", 0.1), ("d", "b", 0.8)],  # across
    ]
    evidence = Evidence.of(scored(*zip(*rows, strict=True)), 0.5, FEW)
    column = Column("gender", ("f", "m"), np.array([0, 0, 1, 1]))
    same = evidence.measure(column, "same_group", 1)
    enrolled = evidence.measure(column, "enrolled", 1)

    def counts(figures, metric):
        return {v: (r.errors, r.trials) for v, g in figures.items() for r in [g[metric]]}

    same, enrolled = ({v: vars(g.rates) for v, g in f.items()} for f in (same, enrolled))
    assert counts(same, "misses") == counts(enrolled, "misses") == {"f": (1, 3), "m": (0, 1)}
    assert counts(same, "false_alarms") == {"f": (1, 2), "m": (0, 1)}
    assert counts(enrolled, "false_alarms") == {"f": (2, 3), "m": (1, 3)}
    assert (same["m"]["speakers"], same["m"]["target_speakers"]) == (2, 1)


def test_a_symmetric_impostor_counts_for_both_enrolled_speakers():
    made = scored("aab", "abb", [0.9, 0.8, 0.9], symmetric=True)
    column = Column("gender", ("f", "m"), np.array([0, 1]))
    evidence = Evidence.of(made, 0.5, FEW, both_orders=True)
    figures = evidence.measure(column, "enrolled", 1)
    alarms = {v: g.rates.false_alarms for v, g in figures.items()}
    assert {v: (r.errors, r.trials) for v, r in alarms.items()} == {"f": (1, 1), "m": (1, 1)}
    misses = {v: g.rates.misses for v, g in figures.items()}
    assert {v: (r.errors, r.trials) for v, r in misses.items()} == {"f": (0, 1), "m": (0, 1)}


def test_claims_within_a_group_count_for_both_enrolled_speakers():
    made = scored("aabc", "abac", [0.9, 0.8, 0.1, 0.4], symmetric=True)
    column = Column("gender", ("f", "m"), np.array([0, 0, 1]))
    evidence = Evidence.of(made, 0.5, FEW, both_orders=True)
    figures = {v: g.rates for v, g in evidence.measure(column, "enrolled", 1).items()}
    alarms = figures["f"].false_alarms
    assert (alarms.errors, alarms.trials) == (2, 4)  # a-b and b-a, each on a and on b
    assert figures["m"].false_alarms is None
    assert (figures["m"].misses.errors, figures["m"].misses.trials) == (1, 1)


def planted(noises, groups, seed=0):
    table = planted_table(noises, seed=seed)
    made = cosine_scores(table, all_pairs(table, {}))
    evidence = Evidence.of(made, 0.4, FEW)
    return evidence, Column("group", ("easy", "hard"), np.array(groups))


def test_a_planted_gap_is_found_and_is_beyond_chance():
    evidence, column = planted([0.4, 1.3] * 12, [0, 1] * 12)
    figures = evidence.measure(column, "same_group", 3)
    groups = comparable(figures, "misses")
    chance = chance_gap(evidence.counts, column, list(groups), "misses", "same_group", 300, seed=1)
    found = disparity(groups, 0.95, chance)
    assert (found.worst, found.best) == ("hard", "easy")
    assert found.gap_interval.low > 0
    assert found.gap > found.chance
    assert found.p_value < 0.01
    assert found.spread == pytest.approx(found.gap / 2)
    assert found.ratio_interval is None or found.ratio_interval.low > 1


@pytest.mark.parametrize("metric", ["misses", "false_alarms"])
def test_permuted_groups_show_nothing_in_most_seeds(metric):
    """True difference: none, because the labels are drawn at random."""
    intervals = chances = 0
    rounds = 40
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        noises = 0.7 + 0.6 * rng.random(24)
        evidence, column = planted(noises, rng.permutation([0, 1] * 12), seed)
        groups = comparable(evidence.measure(column, "same_group", 3), metric)
        chance = chance_gap(
            evidence.counts, column, list(groups), metric, "same_group", 100, seed=seed
        )
        found = disparity(groups, 0.95, chance)
        intervals += found.gap_interval.low > 0
        chances += found.gap > found.chance
    # With a true share of 5 %, more than 7 of 40 happen in 0.1 % of cases.
    assert intervals <= 7
    assert chances <= 7


def test_small_and_unknown_groups_are_shown_but_take_no_part_in_the_gap():
    table = planted_table([1.0] * 12)
    evidence = Evidence.of(cosine_scores(table, all_pairs(table, {})), 0.4, FEW)
    column = Column("g", ("a", "b", "lone", "unknown"), np.array([0] * 4 + [1] * 4 + [2] + [3] * 3))
    figures = evidence.measure(column, "same_group", 3)
    assert list(figures) == ["a", "b", "lone", "unknown"]
    lone = figures["lone"].rates
    assert lone.misses.interval is None
    assert lone.false_alarms is None
    assert lone.eer is None
    assert not lone.large_enough
    for metric in ("misses", "false_alarms", "eer"):
        assert set(comparable(figures, metric)) == {"a", "b"}
    assert disparity({"a": figures["a"].replicated["misses"]}, 0.95) is None


def test_a_group_is_measured_alike_whoever_else_is_in_the_test_set():
    evidence, column = planted([0.4, 1.3] * 6, [0, 1] * 6)
    alone = Column("group", ("hard",), np.array([-1, 0] * 6))
    both = evidence.measure(column, "same_group", 3)["hard"]
    only = evidence.measure(alone, "same_group", 3)["hard"]
    assert both.rates == only.rates

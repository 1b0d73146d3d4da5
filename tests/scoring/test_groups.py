import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_sums import gamma_speakers, split, sums
from scoring_fakes import planted_entries, planted_speakers

from asrlib.report.format import gap_cells, interval
from asrlib.scoring.gaps import Resampling
from asrlib.scoring.groups import (
    Gap,
    band,
    band_names,
    gap_between,
    gap_text,
    group_tables,
)
from asrlib.scoring.records import parse_utterance
from asrlib.scoring.speaker_sums import Interval
from asrlib.scoring.wer import ErrorRate, align, sum_by_speaker

FEW = Resampling(replicates=400)


@pytest.fixture(scope="module")
def planted():
    rates, rows = planted_speakers(24)
    aligned = align([parse_utterance(e) for e in planted_entries(rates, 1)])
    return sum_by_speaker(aligned), {r["speaker"]: r for r in rows}


def tables(planted, columns, bands=(), **limits):
    errors, speakers = planted
    return group_tables(errors, speakers, columns, dict(bands), FEW, **limits)


def test_the_planted_group_is_found(planted):
    gap = tables(planted, ["accent"])["accent"].gap
    assert (gap.worst, gap.best) == ("rare", "common")
    # Planted: 0.30 against 0.05.
    assert gap.gap_interval.low < 500 < gap.gap_interval.high
    assert gap.gap_interval.low > 100
    assert gap.gap > gap.null_gap
    assert gap.p_value < 0.01
    assert gap.difference_interval.low < 25 < gap.difference_interval.high
    assert gap.difference_interval.low > 0


def test_groups_sum_to_the_whole(planted):
    whole = ErrorRate.sum(planted[0].values())
    for table in tables(planted, ["accent", "gender", "age"], {"age": [10, 30]}).values():
        assert ErrorRate.sum(g.errors for g in table.groups) == whole
        assert sum(g.speakers for g in table.groups) == len(planted[0])


def test_bands_are_in_order_and_the_unknown_comes_last_and_outside_the_gap(planted):
    table = tables(planted, ["age"], {"age": [10, 16, 30]})["age"]
    assert [g.value for g in table.groups] == ["<10", "10-<16", "16-<30", ">=30", "unknown"]
    assert not table.groups[-1].large_enough
    assert "unknown" not in (table.gap.best, table.gap.worst)


def test_small_groups_are_shown_but_take_no_part_in_the_gap(planted):
    errors, speakers = planted
    lone = {**errors, "x": ErrorRate(0, 0, 72, 72)}
    table = {**speakers, "x": {"accent": "lone"}}
    made = tables((lone, table), ["accent"], min_speakers=3)["accent"]
    assert {g.value: g.large_enough for g in made.groups} == {
        "common": True,
        "rare": True,
        "lone": False,
    }
    assert made.gap.worst == "rare"
    assert tables((lone, table), ["accent"], min_words=200)["accent"].gap.worst == "rare"
    assert tables((lone, table), ["accent"])["accent"].gap.worst == "lone"


def test_absent_and_empty_columns_are_skipped_and_logged(planted, caplog):
    errors, speakers = planted
    bare = {speaker: {**row, "hair": ""} for speaker, row in speakers.items()}
    with caplog.at_level(logging.DEBUG):
        assert list(tables((errors, bare), ["shoe_size", "hair", "gender"])) == ["gender"]
    levels = {r.args[0]: r.levelno for r in caplog.records if "is skipped" in r.msg}
    assert levels == {"shoe_size": logging.DEBUG, "hair": logging.INFO}


def test_without_speaker_table_there_are_no_groups(planted):
    assert tables((planted[0], {}), ["gender"]) == {}


def test_best_group_without_errors_has_a_difference_but_no_ratio():
    errors = {f"s{i}": ErrorRate(0, 0, i % 2, 10) for i in range(8)}
    speakers = {s: {"g": "odd" if int(s[1]) % 2 else "even"} for s in errors}
    gap = tables((errors, speakers), ["g"])["g"].gap
    assert (gap.gap, gap.gap_interval) == (None, None)
    assert gap.difference == pytest.approx(10)


def test_a_gap_among_many_groups_is_told_with_what_chance_shows():
    """Ten groups of eight speakers of one rate: of 60 corpora at most 8 show a gap (of 5 %)."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(60):
        gap = gap_between(split(gamma_speakers(rng, 80, 0.1), 10), Resampling(permutations=199))
        assert gap.groups == 10
        assert gap.gap > 20
        assert gap.detectable > 100
        found += gap.gap_interval.low > 0
    assert found <= 8


def test_the_planted_gap_lies_in_its_interval():
    rng, hits = np.random.default_rng(2), 0
    for _ in range(60):
        groups = split(gamma_speakers(rng, 60, 0.1), 4)
        groups["bad"] = gamma_speakers(rng, 20, 0.4, name="b")
        gap = gap_between(groups, Resampling(permutations=199))
        assert gap.worst == "bad"
        hits += gap.gap_interval.low < 300 < gap.gap_interval.high
    assert hits >= 53


def test_renaming_a_group_changes_no_number():
    groups = split(gamma_speakers(np.random.default_rng(3), 40, 0.1), 4)
    one = vars(gap_between(groups, FEW))
    other = vars(gap_between({f"z{9 - int(n[1:])}": g for n, g in groups.items()}, FEW))
    assert other.pop("best") == f"z{9 - int(one.pop('best')[1:])}"
    assert other.pop("worst") == f"z{9 - int(one.pop('worst')[1:])}"
    assert {k: pytest.approx(v) for k, v in one.items()} == other


def test_groups_whose_rates_are_all_equal():
    groups = {n: sums(n, [2, 2, 2], [20, 20, 20]) for n in "abc"}
    gap = gap_between(groups, FEW)
    assert (gap.difference, gap.gap, gap.null_gap, gap.p_value) == (0, 0, 0, 1)
    assert gap.gap_interval.low <= 0 <= gap.gap_interval.high


def test_groups_without_any_error():
    gap = gap_between({n: sums(n, [0, 0], [20, 20]) for n in "ab"}, FEW)
    assert (gap.difference, gap.gap, gap.difference_interval, gap.detectable) == (
        0,
        None,
        None,
        None,
    )


def test_groups_of_one_speaker():
    gap = gap_between({n: sums(n, [e], [20]) for n, e in (("a", 1), ("b", 7))}, FEW)
    assert (gap.gap, gap.gap_interval, gap.detectable) == (600, None, None)


def test_a_group_of_one_among_others_is_judged_by_the_variation_of_all():
    rng = np.random.default_rng(4)
    groups = {"many": gamma_speakers(rng, 40, 0.1), "one": sums("o", [60], [80])}
    gap = gap_between(groups, FEW)
    assert gap.p_value < 0.05
    assert gap.gap_interval.low > 0


def test_a_gap_is_told_with_what_chance_shows():
    values = {"best": "a", "worst": "b", "groups": 3, "difference": 12.0, "p_value": 0.0312}
    values |= {"difference_interval": Interval(1, 20), "null_difference": 9.0, "detectable": 70.4}
    known = Gap(**values, gap=84.2, gap_interval=Interval(-3.2, 190), null_gap=61.0)
    assert gap_text(known) == (
        "b against a: +84 % [-3, +190], chance up to +61 %, p = 0.0312, detectable +70 %"
    )
    assert gap_cells(known) == (
        *("b / a", "+12.00", "[+1.0, +20.0]", "+84", "[-3, +190]", "+61", "0.0312", "+70"),
    )
    values |= {"detectable": None}
    assert gap_text(Gap(**values, gap=None, gap_interval=None, null_gap=None)) == (
        "b against a: +12.00 [+1.00, +20.00], chance up to +9.00, p = 0.0312, detectable none"
    )


def test_the_open_end_of_few_speakers_is_no_figure():
    assert interval(Interval(0.5, 7e6)) == "[0.50, > 9999]"
    assert interval(Interval(0.5, 70)) == "[0.50, 70.00]"


edges = st.lists(st.integers(-50, 50), min_size=1, max_size=5, unique=True).map(sorted)


@given(edges, st.integers(-60, 60))
def test_a_band_holds_its_lower_edge(edges, value):
    index = band_names(edges).index(band(str(value), edges))
    assert index == sum(value >= e for e in edges)


@pytest.mark.parametrize("value", ["", "old", "nan"])
def test_what_is_no_number_is_unknown(value):
    assert band(value, [10]) == "unknown"

import numpy as np
import pytest

from asrlib.cohorts.ranking import (
    CohortRate,
    merge_by_share,
    relative_gap,
    sum_groups,
    z_statistic,
)


def test_smoothed_rates_by_hand():
    # Two groups of two speakers of 10 words: rates .1, .3 and .5, .7.
    errors, words = np.array([1.0, 3, 5, 7]), np.full(4, 10.0)
    sums = sum_groups(np.array([0, 0, 1, 1]), errors, words, 2)
    variance = 4 * (0.1**2) * 10 / 2  # of a rate, times words, with 4 - 2 degrees of freedom
    v = variance / 20
    q = 2 * 0.2**2 / v
    tau2 = (q - 1) / (2 / v - 2 / v**2 / (2 / v))
    keep = tau2 / (tau2 + v)
    assert sums.smoothed_K == pytest.approx([0.4 - keep * 0.2, 0.4 + keep * 0.2])


def test_small_groups_are_pulled_further_to_the_mean():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], [3, 50, 50])
    words = np.full(103, 50.0)
    errors = rng.poisson(np.array([0.3, 0.3, 0.1])[group] * words).astype(float)
    sums = sum_groups(group, errors, words, 3)
    total = errors.sum() / words.sum()
    kept = (sums.smoothed_K - total) / (sums.errors_K / sums.words_K - total)
    assert kept[0] < kept[1] < 1


def test_groups_that_differ_by_chance_are_ranked_by_excess_errors():
    # A between-group variance of 0 must not make all smoothed rates equal.
    group = np.repeat([0, 1], 50)
    errors = np.tile([0.0, 20.0], 50)
    errors[0] = 1.0
    sums = sum_groups(group, errors, np.full(100, 100.0), 2)
    assert sums.smoothed_K[0] > sums.smoothed_K[1]


def test_a_group_without_speakers_has_the_overall_rate():
    sums = sum_groups(np.array([0, 0, 2, 2]), np.array([1.0, 2, 8, 9]), np.full(4, 10.0), 3)
    assert sums.smoothed_K[1] == pytest.approx(0.5)
    assert sum_groups(np.array([-1, -1]), np.ones(2), np.ones(2), 2).words_K.tolist() == [0, 0]


def test_merging_takes_groups_while_the_share_gets_nearer():
    rates = np.array([0.5, 0.4, 0.3, 0.2, 0.1])
    group = np.repeat(np.arange(5), 20)
    sums = sum_groups(group, rates[group] * 100, np.full(100, 100.0), 5)
    names = merge_by_share(sums, 0.4, 0.1)
    assert names == ("bottom", "bottom", "middle", "middle", "top")


def test_one_group_and_equal_groups_have_no_bottom():
    one = sum_groups(np.zeros(4, int), np.arange(4.0), np.full(4, 9.0), 1)
    equal = sum_groups(np.array([0, 0, 1, 1]), np.ones(4), np.full(4, 9.0), 2)
    assert set(merge_by_share(one, 0.1, 0.1)) == {"middle"}
    assert set(merge_by_share(equal, 0.1, 0.1)) == {"middle"}


def test_the_gap_needs_errors_in_the_top():
    bottom = CohortRate("bottom", 2, 6.0, 20.0, 0.3)
    top = CohortRate("top", 2, 2.0, 20.0, 0.1)
    assert relative_gap(bottom, top) == pytest.approx(2.0)
    assert relative_gap(bottom, CohortRate("top", 2, 0.0, 20.0, 0.0)) is None


def test_z_statistic_by_hand():
    inside = np.array([True, True, False, False])
    errors, words = np.array([2.0, 4, 1, 1]), np.full(4, 10.0)
    se = np.sqrt(2 / 1 * (1 + 1) / 20**2)
    assert z_statistic(inside, errors, words) == pytest.approx((0.3 - 0.1) / se)
    assert z_statistic(np.array([True, False, False, False]), errors, words) == 0

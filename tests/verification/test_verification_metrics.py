import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.metrics import det_curve as sklearn_det_curve
from sklearn.metrics import roc_curve

from asrlib.verification.metrics import (
    at_false_alarm,
    curve_points,
    det_curve,
    equal_errors,
    min_dcf,
)

# Few different scores, so that ties are frequent.
LABELLED = st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: 0 < sum(target for _, target in rows) < len(rows)
)


def curve_of(rows):
    scores, target = (np.array(column) for column in zip(*rows, strict=True))
    return det_curve(scores.astype(np.float32), target), scores, target


@given(rows=LABELLED)
@settings(deadline=None)
def test_the_curve_is_that_of_scikit_learn(rows):
    curve, scores, target = curve_of(rows)
    fpr, tpr, thresholds = roc_curve(target, scores, drop_intermediate=False)
    np.testing.assert_array_equal(curve.thresholds_K, thresholds[::-1])
    np.testing.assert_allclose(curve.false_alarm_rates_K, fpr[::-1], atol=1e-12)
    np.testing.assert_allclose(curve.miss_rates_K, 1 - tpr[::-1], atol=1e-12)


@given(rows=LABELLED)
@settings(deadline=None)
def test_minimum_cost_and_equal_error_rate_are_those_of_scikit_learns_curve(rows):
    curve, scores, target = curve_of(rows)
    fpr, tpr, _ = roc_curve(target, scores, drop_intermediate=False)
    cost = np.min(0.01 * (1 - tpr) + 0.99 * fpr) / 0.01
    assert min_dcf(curve, 0.01) == pytest.approx(cost)
    # Where the line between the points crosses the diagonal from corner to corner.
    eer = brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), -1e-9, 1 + 1e-9)
    assert equal_errors(curve).rate == pytest.approx(eer, abs=1e-6)


@given(rows=LABELLED)
@settings(deadline=None)
def test_the_points_of_scikit_learns_det_curve_are_on_the_curve(rows):
    curve, scores, target = curve_of(rows)
    own = set(zip(curve.false_alarm_rates_K, curve.miss_rates_K, strict=True))
    fpr, fnr, _ = sklearn_det_curve(target, scores)
    for x, y in zip(fpr, fnr, strict=True):
        assert any(np.allclose((x, y), point, atol=1e-12) for point in own)


@given(rows=LABELLED)
@settings(deadline=None)
def test_a_threshold_makes_the_errors_of_its_point(rows):
    curve, scores, target = curve_of(rows)
    for k in range(len(curve.thresholds_K)):
        accepted = scores >= curve.between(k)
        assert np.sum(~accepted & target) == curve.misses_K[k]
        assert np.sum(accepted & ~target) == curve.false_alarms_K[k]


@pytest.mark.parametrize(
    ("targets", "impostors", "eer"),
    [
        ([3, 4], [1, 2], 0.0),
        ([1, 2], [3, 4], 1.0),
        ([1, 3], [0, 2], 0.5),  # misses 0, 0, 1/2, ... meet false alarms 1, 1/2, 1/2, ...
        ([5, 5], [5, 5], 0.5),  # all scores are equal: halfway between all and nothing
        ([1, 4, 5, 6], [0, 0, 0, 2], 0.25),
        ([1, 4, 5], [0, 0, 0, 2], 0.25),  # 1/3 of misses and 1/4 of false alarms: one rate crosses
    ],
)
def test_equal_error_rates_by_hand(targets, impostors, eer):
    rows = [(s, True) for s in targets] + [(s, False) for s in impostors]
    assert equal_errors(curve_of(rows)[0]).rate == pytest.approx(eer)


def test_minimum_cost_by_hand():
    rows = [(s, True) for s in (1, 4, 5, 6)] + [(s, False) for s in (0, 0, 0, 2)]
    # At 4: one miss of four and no false alarm: 0.01 x 1/4 / 0.01.
    assert min_dcf(curve_of(rows)[0], 0.01) == pytest.approx(0.25)
    # At 1 with a dear miss: no miss and one false alarm of four: 0.99 / 4 / 0.99.
    assert min_dcf(curve_of(rows)[0], 0.01, cost_miss=1000) == pytest.approx(0.25)
    assert (
        min_dcf(curve_of([(1, True), (2, False)])[0], 0.01) == 1.0
    )  # nothing beats accepting none


def test_the_threshold_at_a_false_alarm_rate_is_the_lowest_that_keeps_it():
    rng = np.random.default_rng(3)
    scores, target = rng.normal(size=4000), np.arange(4000) % 4 == 0
    curve = det_curve(scores + target, target)
    k = at_false_alarm(curve, 0.01)
    assert curve.false_alarm_rates_K[k] <= 0.01 < curve.false_alarm_rates_K[k - 1]


def test_without_targets_or_impostors_there_is_no_curve():
    assert det_curve(np.zeros(3), np.ones(3, bool)) is None
    assert det_curve(np.zeros(3), np.zeros(3, bool)) is None
    assert det_curve(np.zeros(0), np.zeros(0, bool)) is None


def test_the_points_of_a_large_curve_are_few_and_follow_it():
    rng = np.random.default_rng(3)
    target = np.arange(200_000) % 20 == 0
    curve = det_curve(rng.normal(size=200_000) + 2 * target, target)
    points = np.array(curve_points(curve))
    assert 40 < len(points) <= 150
    assert np.all(np.diff(points[:, 0]) <= 0)
    assert np.all(np.diff(points[:, 1]) >= 0)
    misses = np.interp(-5.0, -points[:, 0], points[:, 1])
    k = at_false_alarm(curve, 0.05)
    assert misses == pytest.approx(100 * curve.miss_rates_K[k], abs=1)

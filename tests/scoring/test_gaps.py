import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_sums import gamma_speakers, sums
from scipy import stats

from asrlib.scoring.gaps import (
    Resampling,
    compare_speakers,
    contrast,
    contrast_of,
    correlation,
    gap_change,
    interval_of,
    mover,
    resample_sums,
    simultaneous_interval,
)
from asrlib.scoring.speaker_sums import Interval, SpeakerSums, poisson_interval
from asrlib.scoring.wer import ErrorRate

FEW = Resampling(replicates=2000)
speaker = st.builds(
    lambda w, e: ErrorRate(0, 0, min(w, e), w), st.integers(1, 60), st.integers(0, 60)
)
speakers = st.lists(speaker, min_size=2, max_size=12).map(
    lambda rows: {f"s{i}": r for i, r in enumerate(rows)}
)


def rates(found: SpeakerSums) -> dict[str, ErrorRate]:
    rows = zip(found.speakers, found.errors_S, found.words_S, strict=True)
    return {s: ErrorRate(0, 0, int(e), int(n)) for s, e, n in rows}


# ---- two systems


@settings(max_examples=30, deadline=None)
@given(speakers)
def test_a_system_against_itself_shows_no_difference(table):
    result = compare_speakers(table, table)
    assert (result.difference, result.p_value, tuple(result.interval)) == (0, 1, (0, 0))


def test_equal_words_give_the_paired_t_test():
    rng = np.random.default_rng(1)
    a, b = gamma_speakers(rng, 12, 0.2), gamma_speakers(rng, 12, 0.25)
    result = compare_speakers(rates(a), rates(b))
    known = stats.ttest_rel(b.errors_S / 80, a.errors_S / 80)
    assert result.p_value == pytest.approx(known.pvalue)
    ends = known.confidence_interval()
    assert result.interval == pytest.approx((100 * ends.low, 100 * ends.high))


def test_unequal_words_by_hand():
    """z_s = (e_B - e_A)_s - (r_B - r_A) n_s."""
    a, b = sums("s", [4, 6, 10], [10, 20, 30]), sums("s", [2, 5, 8], [10, 20, 30])
    z = np.array([-2, -1, -2]) + 5 / 60 * np.array([10, 20, 30])
    error = math.sqrt(3 / 2 * (z**2).sum()) / 60
    reach = 100 * stats.t.ppf(0.975, 2) * error
    result = compare_speakers(rates(a), rates(b))
    assert result.difference == pytest.approx(-100 * 5 / 60)
    assert result.interval == pytest.approx((result.difference - reach, result.difference + reach))


def test_exchanging_the_systems_exchanges_the_sign():
    rng = np.random.default_rng(6)
    a = rates(gamma_speakers(rng, 20, 0.3))
    b = {s: ErrorRate(0, 0, r.errors // 2, r.words) for s, r in a.items()}
    ab, ba = compare_speakers(a, b), compare_speakers(b, a)
    assert ab.difference == -ba.difference < 0
    assert ab.interval == pytest.approx((-ba.interval.high, -ba.interval.low))
    assert ab.p_value == ba.p_value < 0.01


def test_seeds_may_be_summed_on_one_side():
    rng = np.random.default_rng(7)
    a, b = rates(gamma_speakers(rng, 9, 0.3)), rates(gamma_speakers(rng, 9, 0.2))
    twice = {s: r + r for s, r in b.items()}
    assert compare_speakers(a, twice).interval == pytest.approx(compare_speakers(a, b).interval)


def test_pairing_finds_what_two_intervals_hide():
    a = gamma_speakers(np.random.default_rng(8), 30, 0.3)
    b = SpeakerSums(a.speakers, np.maximum(0, a.errors_S - 2), a.words_S)
    assert b.interval().high > a.interval().low
    assert compare_speakers(rates(a), rates(b)).interval.high < 0


def test_a_change_that_all_speakers_share_is_no_certainty():
    a = {s: ErrorRate(0, 0, 3, 20) for s in "abc"}
    b = {s: ErrorRate(0, 0, 2, 20) for s in "abc"}
    result = compare_speakers(a, b)
    assert result.interval.low < -5 < 0 < result.interval.high
    assert 0.1 < result.p_value < 1


def test_equal_systems_are_seldom_told_apart():
    rng = np.random.default_rng(9)
    found = 0
    for _ in range(200):
        rate_S = rng.gamma(1 / 0.36, 0.2 * 0.36, 9)
        a, b = ({f"s{i}": ErrorRate(0, 0, rng.poisson(80 * r), 80) for i, r in enumerate(rate_S)}
                for _ in range(2))  # fmt: skip
        found += compare_speakers(a, b).p_value < 0.05
    assert found <= 20  # one in five thousand at 5 %


def test_one_speaker_has_no_interval_and_others_are_refused():
    result = compare_speakers({"a": ErrorRate(words=9)}, {"a": ErrorRate(1, 0, 0, 9)})
    assert (result.interval, result.p_value, result.relative) == (None, 1, None)
    with pytest.raises(ValueError, match="same speakers"):
        compare_speakers({"a": ErrorRate(words=1)}, {"b": ErrorRate(words=1)})


# ---- two groups


def test_mover_by_hand():
    assert mover(5, 3, Interval(2, 9), Interval(-1, 7)) == (2 - 5, 2 + math.sqrt(32))
    assert mover(5, 3, Interval(2, 9), Interval(0, 7), rho=1)[1] == 2 + (9 - 5) - (3 - 0)


def test_the_ratio_of_two_log_t_intervals_is_symmetric_on_the_logarithm():
    rng = np.random.default_rng(2)
    bottom, top = gamma_speakers(rng, 30, 0.2), gamma_speakers(rng, 60, 0.05, name="t")
    found = contrast(bottom, top)
    assert found.gap == pytest.approx(100 * (bottom.rate / top.rate - 1))
    low, high = (math.log1p(end / 100) for end in found.gap_interval)
    middle = math.log(bottom.rate / top.rate)
    reach = math.hypot(*(math.log(g.interval().high / g.rate) for g in (bottom, top)))
    assert (middle - low, high - middle) == pytest.approx((reach, reach))


def test_a_top_group_without_errors_has_a_difference_but_no_gap():
    found = contrast(sums("b", [5, 7], [50, 50]), sums("t", [0, 0, 0], [50, 50, 50]))
    assert (found.gap, found.gap_interval) == (None, None)
    assert found.difference == pytest.approx(12)
    assert found.difference_interval.low < 12 < found.difference_interval.high


def test_a_cohort_of_one_has_no_interval():
    found = contrast(sums("b", [5], [50]), sums("t", [1, 2], [50, 50]))
    assert found.gap is not None
    assert (found.gap_interval, found.difference_interval) == (None, None)


def test_two_speakers_leave_everything_open_but_finite():
    pair = sums("b", [1, 90], [100, 100]), sums("t", [0, 7], [100, 100])
    found = contrast(*pair, confidence=0.9999)
    assert found.gap_interval.low < -99.9
    assert 1e9 < found.gap_interval.high < math.inf


def test_speakers_in_both_cohorts_correlate_them():
    rng = np.random.default_rng(3)
    quiet = gamma_speakers(rng, 40, 0.1)
    noisy = SpeakerSums(quiet.speakers, 2 * quiet.errors_S, quiet.words_S)
    assert correlation(noisy, quiet) == pytest.approx(1)
    assert contrast(noisy, quiet).gap_interval == pytest.approx((100, 100))
    others = SpeakerSums(tuple(f"o{s}" for s in noisy.speakers), noisy.errors_S, noisy.words_S)
    assert correlation(others, quiet) == 0
    assert contrast(others, quiet).gap_interval.low < 90


def test_the_interval_of_a_gap_covers_it():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(400):
        bottom, top = gamma_speakers(rng, 10, 0.3), gamma_speakers(rng, 30, 0.1, name="t")
        low, high = contrast(bottom, top).gap_interval
        hits += low <= 200 <= high
    assert hits >= 0.91 * 400


def test_simultaneous_intervals():
    found = sums("s", [2, 3, 7], [10, 20, 20])
    assert simultaneous_interval(found, 3, 0.1) == pytest.approx(
        (0.24 * math.exp(-0.3), 0.24 * math.exp(0.3))
    )
    assert simultaneous_interval(found, 3, 0.1, log=False) == pytest.approx((-0.06, 0.54))
    none = sums("s", [0, 0], [50, 50])
    assert simultaneous_interval(none, stats.norm.ppf(0.975), 9) == pytest.approx(
        poisson_interval(0, 100)
    )


def test_means_have_a_difference_in_their_unit():
    found = contrast_of(300, -20, Interval(290, 310), Interval(-30, -10), rates=False)
    assert (found.difference, found.gap) == (320, None)
    assert found.difference_interval == pytest.approx((320 - 200**0.5, 320 + 200**0.5))


# ---- draws


def test_sums_draw_as_many_speakers_as_there_are():
    values_SK = np.column_stack([np.arange(7), np.ones(7)])
    sums_RK = resample_sums(values_SK, Resampling(replicates=1203))
    assert sums_RK.shape == (1203, 2)
    assert (sums_RK[:, 1] == 7).all()
    assert sums_RK[:, 0].mean() == pytest.approx(21, rel=0.03)
    assert np.array_equal(sums_RK, resample_sums(values_SK, Resampling(replicates=1203)))
    assert not np.array_equal(sums_RK, resample_sums(values_SK, Resampling(1203, seed=2)))


def test_expanded_percentiles_are_those_of_student_for_a_mean():
    """Of a mean of normal values, the interval has about the width that Student's t gives."""
    values = np.random.default_rng(1).normal(size=8)
    means_R = resample_sums(values[:, None], Resampling(replicates=100_000))[:, 0] / 8
    low, high = interval_of(means_R, 8, Resampling())
    reach = stats.t.ppf(0.975, 7) * stats.sem(values)
    assert high - low == pytest.approx(2 * reach, rel=0.1)
    assert high - low > 1.2 * np.subtract(*np.quantile(means_R, [0.975, 0.025]))


def test_values_that_are_not_finite_are_ignored():
    assert interval_of(np.array([np.nan, 1.0, np.inf, 1.0]), 5, FEW) == (1, 1)
    assert interval_of(np.array([np.nan]), 5, FEW) is None
    assert interval_of(np.ones(9), 1, FEW) is None


# ---- the change of a gap


def test_the_gap_of_one_system_does_not_change():
    rng = np.random.default_rng(1)
    pair = gamma_speakers(rng, 10, 0.3), gamma_speakers(rng, 30, 0.1, name="t")
    found = gap_change(pair, pair, FEW)
    assert (found.change, tuple(found.interval)) == (0, (0, 0))
    assert (found.bottom_change, found.top_change) == (0, 0)


def test_what_helps_the_bottom_alone_narrows_the_gap():
    rng = np.random.default_rng(2)
    bottom, top = gamma_speakers(rng, 40, 0.4), gamma_speakers(rng, 60, 0.1, name="t")
    better = SpeakerSums(bottom.speakers, bottom.errors_S // 2, bottom.words_S)
    found = gap_change((bottom, top), (better, top), FEW)
    assert found.change == pytest.approx(found.gap_b - found.gap_a)
    assert found.interval.low < found.change < found.interval.high < 0
    assert found.bottom_change < 0 == found.top_change
    assert found.speakers == 100


def test_shared_speakers_are_drawn_once():
    """If B halves the errors of every speaker in both cohorts, the gap cannot move at all."""
    rng = np.random.default_rng(3)
    quiet = gamma_speakers(rng, 20, 0.2)
    noisy = SpeakerSums(quiet.speakers, rng.poisson(quiet.errors_S * 2) * 1.0, quiet.words_S)
    halves = [SpeakerSums(g.speakers, g.errors_S / 2, g.words_S) for g in (noisy, quiet)]
    found = gap_change((noisy, quiet), halves, FEW)
    assert found.change == pytest.approx(0, abs=1e-9)
    assert found.interval == pytest.approx((0, 0), abs=1e-9)


def test_bad_input_of_a_gap_change():
    bottom, top = sums("b", [5], [50]), sums("t", [1, 2], [50, 50])
    assert gap_change((bottom, top), (bottom, top), FEW).interval is None
    none = sums("t", [0, 0], [50, 50])
    found = gap_change((bottom, none), (bottom, none), FEW)
    assert (found.gap_a, found.change, found.interval) == (None, None, None)
    with pytest.raises(ValueError, match="same speakers"):
        gap_change((bottom, top), (bottom, sums("x", [1, 2], [50, 50])), FEW)

import numpy as np
import pytest
from planted_sums import gamma_speakers, split, sums
from scipy import stats

from asrlib.scoring.between_groups import (
    SpeakerVariation,
    detectable_difference,
    detectable_gap,
    fit_variation,
    group_variance,
    shrunken_rates,
    speakers_needed,
)
from asrlib.scoring.gaps import contrast

MODEL = SpeakerVariation(cv=0.6, dispersion=1.0)


def test_the_speaker_model_is_fitted_to_what_drew_the_speakers():
    rng = np.random.default_rng(1)
    for cv in (0.0, 0.3, 0.6):
        found = fit_variation([gamma_speakers(rng, 4000, 0.2, cv)])
        assert found.cv == pytest.approx(cv, abs=0.06)
        assert found.dispersion == pytest.approx(1, abs=0.06)


def test_groups_are_fitted_around_their_own_rates():
    rng = np.random.default_rng(2)
    groups = [gamma_speakers(rng, 3000, mean, 0.3) for mean in (0.05, 0.5)]
    assert fit_variation(groups).cv == pytest.approx(0.3, abs=0.03)


def test_the_correction_for_small_groups():
    """Fitted in groups of two the variation is the same as in one group."""
    found = split(gamma_speakers(np.random.default_rng(3), 4000, 0.2, 0.5), 2000)
    assert fit_variation([*found.values()]).cv == pytest.approx(0.5, abs=0.06)


def test_counts_that_vary_less_than_poisson_counts():
    rng = np.random.default_rng(4)
    errors = rng.binomial(80, 0.8, 2000)
    found = fit_variation([sums("s", errors.tolist(), [80] * 2000)])
    assert found.cv == 0
    assert found.dispersion == pytest.approx(0.2, abs=0.03)


def test_speakers_who_tell_nothing_have_no_variation():
    assert fit_variation([sums("s", [3], [9]), sums("t", [4], [9])]) is None
    assert fit_variation([sums("s", [0, 0], [9, 9])]) is None
    assert fit_variation([]) is None


# ---- groups


def test_tau2_by_hand():
    rates, errors = np.array([0.1, 0.2, 0.4]), np.array([0.05, 0.05, 0.1])
    w = 1 / errors**2
    mean = (w @ rates) / w.sum()
    q = w @ (rates - mean) ** 2
    found = group_variance(rates, errors)
    assert found.mean == pytest.approx(mean)
    assert found.tau2 == pytest.approx((q - 2) / (w.sum() - (w @ w) / w.sum()))
    assert found.raw == pytest.approx(stats.tvar(rates))
    shrunken = shrunken_rates(rates, errors, found)
    keep = found.tau2 / (found.tau2 + errors**2)
    assert shrunken == pytest.approx(mean + keep * (rates - mean))


def test_sampling_noise_alone_gives_no_variance_between_groups():
    rng = np.random.default_rng(5)
    groups = [gamma_speakers(rng, 40, 0.1) for _ in range(400)]
    rates, errors = np.array([(g.rate, g.standard_error()) for g in groups]).T
    found = group_variance(rates, errors)
    assert found.raw > 5e-5
    assert found.tau2 < 0.3 * found.raw


def test_true_variance_is_found_beneath_the_noise():
    rng = np.random.default_rng(6)
    true = rng.normal(0.3, 0.05, 300)
    noise = np.full(300, 0.04)
    found = group_variance(true + rng.normal(0, noise), noise)
    assert found.tau2**0.5 == pytest.approx(0.05, rel=0.1)
    shrunken = shrunken_rates(true, noise, found)
    assert np.abs(shrunken - found.mean).max() < np.abs(true - found.mean).max()


def test_groups_without_variance_are_all_the_mean():
    found = group_variance(np.array([0.2, 0.2]), np.array([0.1, 0.1]))
    assert found.tau2 == 0
    assert shrunken_rates(np.array([0.2, 0.2]), np.array([0.1, np.inf]), found) == pytest.approx(
        0.2
    )


@pytest.mark.parametrize("errors", [[0.1], [0.1, 0.0]])
def test_tau2_needs_two_groups_with_errors(errors):
    with pytest.raises(ValueError, match="two groups"):
        group_variance(np.full(len(errors), 0.1), np.array(errors))


# ---- power


@pytest.mark.parametrize(
    ("rate", "gap", "speakers"),
    [(0.05, 1.0, 22), (0.05, 0.2, 302), (0.1, 0.5, 49), (0.2, 0.1, 749), (0.2, 1.0, 16)],
)
def test_speakers_needed_are_those_of_an_independent_simulation(rate, gap, speakers):
    """Found by others by simulating the test: cv .6, 80 words a speaker."""
    assert speakers_needed(MODEL, rate, 80, gap) == pytest.approx(speakers, rel=0.15)


def test_the_detectable_gap_shows_in_80_per_cent():
    rng = np.random.default_rng(7)
    words = np.full(30, 80.0)
    gap = detectable_gap(MODEL, 0.1, words, words)
    shown = 0
    for _ in range(400):
        bottom = gamma_speakers(rng, 30, 0.1 * (1 + gap))
        ends = contrast(bottom, gamma_speakers(rng, 30, 0.1, name="t")).gap_interval
        shown += ends.low > 0
    assert shown / 400 == pytest.approx(0.8, abs=0.07)


def test_more_speakers_or_words_show_smaller_gaps():
    few, more = np.full(10, 80.0), np.full(40, 80.0)
    base = detectable_gap(MODEL, 0.1, few, few)
    assert detectable_gap(MODEL, 0.1, more, few) < base
    assert detectable_gap(MODEL, 0.1, 5 * few, 5 * few) < base
    assert detectable_gap(MODEL, 0.1, few, few, critical=4.0) > base


def test_groups_that_could_show_nothing():
    one, none = np.array([80.0]), np.array([0.0, 0.0])
    assert detectable_gap(MODEL, 0.1, one, one) is None
    assert detectable_gap(MODEL, 0.1, none, one) is None
    assert detectable_gap(MODEL, 0.0, np.full(9, 80.0), one) is None
    assert detectable_gap(SpeakerVariation(9.0, 1.0), 0.1, one, np.full(2, 9.0)) is None


def test_detectable_difference():
    reach = stats.norm.ppf(0.8) + 2.5
    assert detectable_difference(10, 2.5) == pytest.approx(10 * reach)

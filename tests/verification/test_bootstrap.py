from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verification_fakes import planted_table, scored

from asrlib.scoring.gaps import Resampling
from asrlib.scoring.speaker_sums import poisson_interval
from asrlib.verification import bootstrap
from asrlib.verification.bootstrap import (
    PairCounts,
    Replicated,
    SpeakerTrials,
    draw_weights,
    eer_replicates,
    mean_of,
)
from asrlib.verification.compare import _interval
from asrlib.verification.metrics import det_curve, equal_errors
from asrlib.verification.scores import cosine_scores
from asrlib.verification.trials import all_pairs

TRIALS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.integers(-5, 5)),
    min_size=2,
    max_size=60,
)


def eer_by_copies(trials, weights):
    """The definition: each trial stands there as often as its speakers were drawn."""
    target = trials.first_T == trials.second_T
    w = np.where(
        target, weights[trials.first_T], weights[trials.first_T] * weights[trials.second_T]
    )
    copies = np.repeat(np.arange(len(target)), w.astype(int))
    curve = det_curve(trials.scores_T[copies], target[copies])
    return np.nan if curve is None else equal_errors(curve).rate


@given(rows=TRIALS, seed=st.integers(0, 99))
@settings(deadline=None)
def test_a_weighted_equal_error_rate_is_that_of_copied_trials(rows, seed):
    rows += [(s, s, 0) for s in "abcd"]
    trials = SpeakerTrials.of(scored(*zip(*rows, strict=True)))
    weights_SR = np.random.default_rng(seed).integers(0, 4, size=(4, 5)).astype(float)
    expected = [eer_by_copies(trials, weights_SR[:, r]) for r in range(5)]
    np.testing.assert_allclose(eer_replicates(trials, weights_SR), expected, atol=1e-12)


@pytest.mark.parametrize("numbers", [1, 5000, 10_000_000])
@pytest.mark.parametrize("blocks", [1, 3, 256])
def test_blocks_and_parts_change_nothing(monkeypatch, numbers, blocks):
    table = planted_table([0.5, 1.0, 2.0, 1.5, 1.0])
    made = cosine_scores(table, all_pairs(table, {}))
    trials = SpeakerTrials.of(made)
    weights_SR = np.random.default_rng(0).integers(0, 3, size=(5, 7)).astype(float)
    monkeypatch.setattr(bootstrap, "_NUMBERS", numbers)
    monkeypatch.setattr(bootstrap, "_BLOCKS", blocks)
    expected = [eer_by_copies(trials, weights_SR[:, r]) for r in range(7)]
    np.testing.assert_allclose(eer_replicates(trials, weights_SR), expected, atol=1e-12)


def test_weights_of_one_give_the_point_estimate():
    table = planted_table([0.5, 1.0, 2.0, 1.5] * 4)
    made = cosine_scores(table, all_pairs(table, {}))
    trials, ones_SR = SpeakerTrials.of(made), np.ones((16, 2))
    curve = det_curve(made.scores_T, made.trials.target_T)
    assert eer_replicates(trials, ones_SR).tolist() == [equal_errors(curve).rate] * 2
    counts = PairCounts.at(trials, 0.5)
    errors, total = counts.sums()
    assert counts.replicate(ones_SR).tolist() == [errors / total] * 2


def test_a_doubled_speaker_weighs_two():
    """Impostor trials between the two copies are of one person, so they are none."""
    table = planted_table([0.8, 1.0, 2.0, 1.5])
    made = cosine_scores(table, all_pairs(table, {}))
    rows = [
        (table.speakers[e], table.speakers[t], float(s))
        for e, t, s in zip(made.trials.enrol_T, made.trials.test_T, made.scores_T, strict=True)
    ]
    twin = {"s002": "s002 again"}
    copies = [(twin.get(a, a), twin.get(b, b), s) for a, b, s in rows if "s002" in (a, b)]
    doubled = SpeakerTrials.of(scored(*zip(*rows, *copies, strict=True)))
    weights_SR = np.array([[1.0], [1.0], [2.0], [1.0]])
    single = SpeakerTrials.of(made)
    ones_SR = np.ones((5, 1))
    assert eer_replicates(single, weights_SR) == pytest.approx(eer_replicates(doubled, ones_SR))
    for kind in (True, False):
        two, one = (
            counts.keep((counts.first_P == counts.second_P) == kind)
            for counts in (PairCounts.at(t, 0.4) for t in (doubled, single))
        )
        assert one.replicate(weights_SR) == pytest.approx(two.replicate(ones_SR))


def test_rates_at_a_threshold_are_weighted_by_both_speakers():
    made = scored("aabbac", "aabbbb", [0.9, 0.1, 0.7, 0.2, 0.8, 0.1])
    counts = PairCounts.at(SpeakerTrials.of(made), 0.5)
    target_P = counts.first_P == counts.second_P
    weights_SR = np.array([[3.0, 0.0], [1.0, 0.0], [2.0, 1.0]])
    misses, alarms = counts.keep(target_P), counts.keep(~target_P)
    # a misses one of two, three times; b one of two, once.
    assert misses.replicate(weights_SR)[0] == pytest.approx(4 / 8)
    # a-b is accepted and weighs 3 x 1, c-b is rejected and weighs 2 x 1.
    assert alarms.replicate(weights_SR)[0] == pytest.approx(3 / 5)
    assert np.isnan(misses.replicate(weights_SR)[1])
    assert np.isnan(alarms.replicate(weights_SR)[1])


def test_a_score_at_the_threshold_is_accepted():
    counts = PairCounts.at(SpeakerTrials.of(scored("ab", "ac", [0.5, 0.5])), 0.5)
    assert counts.errors_P.tolist() == [0, 1]


def test_each_stratum_keeps_its_size_and_its_draws():
    strata = {"f": np.array([0, 2, 4]), "m": np.array([1, 3])}
    weights_SR = draw_weights(strata, 6, Resampling(200))
    assert np.all(weights_SR[[0, 2, 4]].sum(axis=0) == 3)
    assert np.all(weights_SR[[1, 3]].sum(axis=0) == 2)
    assert not weights_SR[5].any()
    again = draw_weights({"m": strata["m"]}, 6, Resampling(200))
    np.testing.assert_array_equal(again[[1, 3]], weights_SR[[1, 3]])


def test_intervals_of_a_group_without_errors_end_at_the_poisson_bound():
    none = Replicated.of(0.0, np.zeros(100), 12, 60)
    assert none.rate_interval(0.95) == pytest.approx((0, 3.689 / 60), abs=1e-4)
    every = Replicated.of(1.0, np.ones(100), 12, 60)
    assert every.rate_interval(0.95) == pytest.approx((1 - 3.689 / 60, 1), abs=1e-4)
    assert Replicated.of(0.0, np.zeros(100), 1, 60).rate_interval(0.95) is None


def test_two_speakers_who_show_no_spread_have_no_interval():
    assert Replicated.of(0.3, np.full(100, 0.3), 2, 12).rate_interval(0.95) is None
    varied = Replicated.of(0.3, np.array([0.1, 0.5] * 50), 2, 12).rate_interval(0.95)
    assert varied is not None


def test_speakers_of_one_rate_have_the_interval_of_their_utterances():
    low, high = Replicated.of(0.5, np.full(100, 0.5), 6, 40).rate_interval(0.95)
    assert (low, high) == poisson_interval(20, 40)
    assert Replicated.of(0.9, np.full(100, 0.9), 6, 10).rate_interval(0.95)[1] == 1.0


def test_intervals_stay_between_zero_and_one_and_contain_the_rate():
    replicates = np.random.default_rng(0).normal(0.03, 0.05, 1000)
    low, high = Replicated.of(0.03, replicates, 4, 60).rate_interval(0.95)
    assert 0 < low < 0.03 < high < 1


def test_differences_and_means_are_taken_replicate_by_replicate():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=1000)
    a = Replicated.of(0.2, 0.2 + 0.1 * shared, 20, 60)
    b = Replicated.of(0.3, 0.3 + 0.1 * shared, 20, 60)
    assert b.minus(a).value == pytest.approx(0.1)
    assert b.minus(a).standard_error == pytest.approx(0, abs=1e-12)
    both = mean_of([a, b])
    assert both.value == pytest.approx(0.25)
    assert both.standard_error == pytest.approx(a.standard_error)
    opposite = Replicated.of(0.2, 0.2 - 0.1 * shared, 20, 60)
    assert mean_of([a, opposite]).standard_error == pytest.approx(0)


@pytest.mark.parametrize("speakers", [3, 8, 20])
def test_intervals_cover_the_truth(speakers):
    """Speakers are drawn from a population with known error rates, over and over."""
    rng = np.random.default_rng(speakers)
    noises = 1 + 0.8 * rng.random(150)
    population = planted_table(noises, utterances=6, seed=5)
    made = cosine_scores(population, all_pairs(population, {}))
    whole = SpeakerTrials.of(made)
    curve = det_curve(made.scores_T, made.trials.target_T)
    threshold = curve.between(equal_errors(curve).index)
    counts = PairCounts.at(whole, threshold)
    target_P = counts.first_P == counts.second_P
    kinds = [counts.keep(target_P), counts.keep(~target_P)]
    truths = [
        equal_errors(curve).rate,
        *(errors / total for errors, total in (c.sums() for c in kinds)),
    ]
    covered = np.zeros(3)
    rounds = 80
    for round_ in range(rounds):
        drawn = np.sort(rng.choice(150, size=speakers, replace=False))
        inside = np.zeros(150, dtype=bool)
        inside[drawn] = True
        strata = {"": drawn}
        weights_SR = draw_weights(strata, 150, Resampling(200, seed=round_))
        own = whole.keep(inside[whole.first_T] & inside[whole.second_T])
        value = equal_errors(det_curve(own.scores_T, own.target_T)).rate
        figures = [Replicated.of(value, eer_replicates(own, weights_SR), speakers, 6 * speakers)]
        for kind in kinds:
            part = kind.keep(inside[kind.first_P] & inside[kind.second_P])
            errors, total = part.sums()
            figures.append(Replicated.of(errors / total, part.replicate(weights_SR), speakers, 60))
        for i, (figure, truth) in enumerate(zip(figures, truths, strict=True)):
            low, high = figure.rate_interval(0.95)
            covered[i] += low <= truth <= high
    # The chance that a true coverage of 95 % shows below 86 % in 80 rounds is 0.1 %.
    assert np.all(covered / rounds >= 0.86), covered / rounds


def test_speakers_who_all_differ_alike_give_no_interval():
    """Of two speakers with the same change, no replicate differs, which is no certainty."""
    same = Replicated(-0.0128, np.array([1e-17, -1e-17]), 3, 30)
    assert _interval(same, (0.2,), (0.1872,), 0.95) is None
    assert _interval(replace(same, value=0.0), (0.2,), (0.2,), 0.95) == (0, 0)
    assert _interval(replace(same, value=0.0, speakers=2), (0.2,), (0.2,), 0.95) is None

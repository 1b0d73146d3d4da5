import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_sums import gamma_speakers, sums
from scipy import stats

from asrlib.scoring.speaker_sums import Interval, SpeakerSums, poisson_interval, speaker_interval
from asrlib.scoring.wer import ErrorRate

speaker = st.tuples(st.integers(0, 60), st.integers(1, 60))
speakers = st.lists(speaker, min_size=2, max_size=12)


def test_the_interval_by_hand():
    """Errors 2, 3, 7 of 10, 20, 20 words: rate .24, residuals -.4, -1.8, 2.2."""
    found = sums("s", [2, 3, 7], [10, 20, 20])
    assert found.rate == pytest.approx(0.24)
    assert found.residuals_S == pytest.approx([-0.4, -1.8, 2.2])
    error = math.sqrt(3 / 2 * (0.16 + 3.24 + 4.84)) / 50
    assert found.standard_error() == pytest.approx(error)
    reach = stats.t.ppf(0.975, 2) * error / 0.24
    assert found.interval() == pytest.approx((0.24 * math.exp(-reach), 0.24 * math.exp(reach)))


def test_equal_words_give_the_standard_error_of_the_mean():
    rates = [0.1, 0.3, 0.2, 0.5]
    found = sums("s", [100 * r for r in rates], [100] * 4)
    assert found.standard_error() == pytest.approx(stats.sem(rates))


def test_without_an_error_the_upper_end_is_the_exact_poisson_bound():
    low, high = sums("s", [0, 0, 0], [50, 50, 100]).interval()
    assert low == 0
    assert stats.poisson.cdf(0, 200 * high) == pytest.approx(0.025)


@pytest.mark.parametrize("errors", [1, 7])
def test_the_poisson_interval_is_garwoods(errors):
    low, high = poisson_interval(errors, 1)
    assert stats.poisson.sf(errors - 1, low) == pytest.approx(0.025)
    assert stats.poisson.cdf(errors, high) == pytest.approx(0.025)


def test_speakers_with_one_rate_have_the_poisson_interval():
    """Their spread is zero, which no one believes of other speakers."""
    found = sums("s", [2, 2, 4], [10, 10, 20])
    assert found.interval() == poisson_interval(8, 40)
    assert found.interval().low < 0.2 < found.interval().high


def test_one_speaker_or_no_words_have_no_interval():
    assert sums("s", [1], [9]).interval() is None
    assert sums("s", [0], [9]).interval() is None
    assert sums("s", [1, 2], [0, 0]).interval() is None
    assert sums("s", [], []).interval() is None


def test_speakers_who_said_nothing_do_not_count():
    few = sums("s", [2, 3, 7], [10, 20, 20])
    more = sums("s", [2, 3, 7, 0, 0], [10, 20, 20, 0, 0])
    assert more.interval() == few.interval()


@settings(max_examples=50, deadline=None)
@given(speakers)
def test_the_rate_lies_in_its_interval(rows):
    found = sums("s", *map(list, zip(*rows, strict=True)))
    low, high = found.interval()
    assert 0 <= low <= found.rate <= high


def test_order_and_splitting_change_nothing():
    table = {"b": ErrorRate(1, 2, 3, 40), "a": ErrorRate(0, 1, 0, 30), "c": ErrorRate(2, 2, 2, 50)}
    backwards = dict(reversed(table.items()))
    assert speaker_interval(table) == speaker_interval(backwards)
    halves = SpeakerSums.arrays(list("aabbc"), [1, 0, 4, 2, 6], [10, 20, 20, 20, 50])
    assert halves.interval() == SpeakerSums.of(table).interval()


def test_words_as_the_sample_would_be_too_sure():
    found = gamma_speakers(np.random.default_rng(4), 40, 0.2)
    assert max(found.errors_S) < 80
    errors = [float(i < e) for e in found.errors_S for i in range(80)]
    by_word = sums("w", errors, [1] * len(errors)).interval()
    by_speaker = found.interval()
    assert by_word.high - by_word.low < 0.6 * (by_speaker.high - by_speaker.low)


@pytest.mark.parametrize("count", [5, 9, 20, 44])
@pytest.mark.parametrize("mean", [0.02, 0.1, 0.8])
def test_the_interval_covers_the_true_rate(count, mean):
    """Of 400 draws at least 91 %: at a coverage of 95 % that fails once in five thousand."""
    rng = np.random.default_rng([count, round(100 * mean)])
    hits = 0
    for _ in range(400):
        low, high = gamma_speakers(rng, count, mean).interval()
        hits += low <= mean <= high
    assert hits >= 0.91 * 400


def test_percent():
    assert Interval(0.1, 0.25).percent() == (10, 25)

from contextlib import closing

import pytest
from scoring_fakes import entry, timed

from asrlib.scoring.latency import (
    Histogram,
    Latency,
    LatencyMeter,
    correct_words,
    lags_ms,
    latency_of,
    summarise,
)
from asrlib.scoring.records import parse_utterance
from asrlib.scoring.wer import align


def latency(*entries):
    """The latencies of each utterance, joined."""
    found = [latency_of(a) for a in align([parse_utterance(e) for e in entries])]
    return Latency(
        tuple(ms for one in found for ms in one.symbol_delays),
        tuple(ms for one in found for ms in one.finalisations),
        sum(one.skipped for one in found),
    )


def scores(*entries):
    with closing(LatencyMeter()) as meter:
        for a in align([parse_utterance(e) for e in entries]):
            meter.add(a)
        return meter.scores()


def test_delay_is_emission_of_the_last_token_minus_end_of_the_word():
    e = entry("u", "s", "A B C", "A X C", ref_words=timed("A B C"), final_time=2.1)
    e["hyp_words"] = [["A", 0.4, 0.55], ["X", 0.9, 1.0], ["C", 1.3, 1.48]]
    result = latency(e)
    # The substituted word has no delay; the third was out before it ended.
    assert result.symbol_delays == pytest.approx((50, -20))
    assert result.finalisations == pytest.approx((600,))


def test_words_are_matched_through_the_alignment_not_by_position():
    e = entry("u", "s", "A B C", "X A C", ref_words=timed("A B C"))
    e["hyp_words"] = [["X", 0, 0.1], ["A", 0.5, 0.6], ["C", 1.5, 1.7]]
    assert latency(e).symbol_delays == pytest.approx((100, 200))


def test_sets_without_word_times_have_no_latency():
    assert scores(entry("u", "s", "A", "A", ref_words=None)) is None


def test_two_systems_are_told_apart_by_the_words_that_both_have_right():
    """No word times are needed, and with them the lag is the difference of the delays."""
    a = entry("u", "s", "A B C D", "A B X D", ref_words=None, hyp_words=timed("A B X D"))
    b = entry("u", "s", "A B C D", "B C D", ref_words=None)
    b["hyp_words"] = [["B", 0.9, 1.1], ["C", 1.4, 1.5], ["D", 1.6, 1.8]]
    lost = entry("v", "s", "A", "A", ref_words=None, hyp_words=timed("B"))
    a_words, b_words = (
        correct_words(align([parse_utterance(e) for e in (x, lost)])) for x in (a, b)
    )
    assert set(a_words) == {("u", 0), ("u", 1), ("u", 3)}
    truth = {word: end for word, (_, _, end) in enumerate(timed("A B X D"))}
    assert lags_ms(a_words, b_words) == pytest.approx(
        [1000 * (1.1 - truth[1]), 1000 * (1.8 - truth[3])]
    )
    assert sorted(lags_ms(b_words, a_words)) == pytest.approx(
        sorted(-lag for lag in lags_ms(a_words, b_words))
    )
    assert lags_ms(a_words, a_words) == [0, 0, 0]


def test_disagreeing_word_times_are_left_out_and_counted():
    good = entry("a", "s", "A", "A", ref_words=timed("A"), hyp_words=timed("A", lag=0.2))
    bad_ref = entry("b", "s", "A B", "A", ref_words=timed("A"), hyp_words=timed("A"))
    bad_hyp = entry("c", "s", "A", "A", ref_words=timed("A"), hyp_words=timed("B"), final_time=1.0)
    result = latency(good, bad_ref, bad_hyp)
    assert result.symbol_delays == pytest.approx((200,))
    assert result.finalisations == pytest.approx((500,))
    assert result.skipped == scores(good, bad_ref, bad_hyp).skipped_utterances == 2
    assert scores(good, bad_ref, bad_hyp).symbol_delay_ms.mean == pytest.approx(200)


def test_empty_texts_have_no_latency_but_do_no_harm():
    silent = entry("u", "s", "", "", ref_words=[], hyp_words=[], final_time=1.0)
    result = latency(silent)
    assert (result.symbol_delays, result.finalisations, result.skipped) == ((), (), 0)
    assert scores(silent).symbol_delay_ms is None


def test_summary():
    values = [float(v) for v in range(-40, 61)]
    summary = summarise(values)
    assert summary.mean == pytest.approx(10)
    assert (summary.p50, summary.p90) == pytest.approx((10, 50))
    assert summary.histogram == Histogram(start=-40, bin=40, counts=(40, 40, 21))

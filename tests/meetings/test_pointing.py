"""Latencies of turn symbols, on hand-made turns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.meetings.pointing import (
    Pointing,
    compare_medians,
    pair_turns,
    point,
    summarise_pointing,
)
from asrlib.scoring.gaps import Resampling
from asrlib.text.turns import Turn

FEW = Resampling(replicates=400)


def true(start, end, channel=0):
    return Turn("m", channel, start, end, "A", speaker="x")


def heard(start, end, channel=0, **times):
    return Turn("m", channel, start, end, "A", **times)


THREE = [true(0, 2), true(1, 3, 1), true(4, 5)]


def test_symbols_count_where_the_labels_have_them():
    """A channel's first start and last end have none, whatever a model emits there."""
    got = [
        heard(0.3, 2.2, sot_time=0.1, eot_time=2.25, closed_time=2.75),
        heard(1.4, 3.1, 1, sot_time=1.2, eot_time=3.9, closed_time=6.0),
        heard(4.2, 5.0, sot_time=4.1, eot_time=5.7, closed_time=6.0),
    ]
    starts, ends, closed = point(THREE, got)
    assert (starts.ms, starts.expected) == (pytest.approx((100,)), 1)
    assert (ends.ms, ends.expected) == (pytest.approx((250,)), 1)
    assert (closed.ms, closed.expected) == (pytest.approx((750,)), 1)


def test_a_symbol_that_did_not_come_is_missing_from_the_expected():
    got = [heard(0.3, 2.2), heard(1.4, 3.1, 1), heard(4.2, 5.0)]
    assert point(THREE, got) == (Pointing((), 1),) * 3
    assert summarise_pointing({"m": Pointing((), 1)}, FEW) is None
    summary = summarise_pointing({"m": Pointing((5.0,), 1), "n": Pointing((), 1)}, FEW)
    assert (summary.count, summary.expected) == (1, 2)


def test_sessions_counted_wrong_have_none():
    got = [heard(0.3, 2.2, eot_time=2.25), heard(1.4, 3.1, 1)]
    assert point(THREE, got) == (Pointing(),) * 3


def test_an_early_symbol_counts_below_zero():
    said, got = [true(1, 2), true(3, 4)], [heard(1, 2, eot_time=1.5), heard(3, 4, sot_time=2.9)]
    starts, ends, _ = point(said, got)
    assert starts.ms == pytest.approx((-100,))
    assert ends.ms == pytest.approx((-500,))


def test_turns_are_paired_by_channel_where_the_counts_agree():
    said = [true(0, 9, 0), true(5, 6, 1)]
    late = [heard(5.1, 6, 1), heard(5.5, 9, 0)]
    assert pair_turns(said, late) == [(said[0], late[1]), (said[1], late[0])]
    one_channel = [heard(0.2, 6, 0), heard(6.1, 9, 0)]
    assert pair_turns(said, one_channel) == list(zip(said, one_channel, strict=True))


latencies = st.lists(st.floats(-500, 500), max_size=4)


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.sampled_from("abcdefgh"), latencies, min_size=2))
def test_the_interval_holds_medians_of_the_values(values):
    everything = [ms for found in values.values() for ms in found]
    summary = summarise_pointing({k: Pointing(tuple(v), len(v)) for k, v in values.items()}, FEW)
    if not everything:
        assert summary is None
        return
    if sum(map(bool, values.values())) < 2:
        assert summary.p50_interval is None
    else:
        low, high = summary.p50_interval
        assert min(everything) <= low <= high <= max(everything)
    assert summary.p50 == pytest.approx(np.median(everything))


def test_the_interval_of_an_even_number_is_about_its_median():
    """Of two middle values the median is the mean, in the draws too."""
    values = {f"m{i}": Pointing((500.0 if i % 2 else 3300.0,), 1) for i in range(40)}
    low, high = summarise_pointing(values, FEW).p50_interval
    assert (low, high) == (500, 3300)
    two = {"a": (500.0, 3300.0), "b": (500.0, 3300.0)}
    ends = compare_medians({"a": (0.0,), "b": (0.0,)}, two, FEW)
    assert (ends.low, ends.high) == (1900, 1900)


def test_a_later_system_is_found_later():
    generator = np.random.default_rng(1)
    early = {f"m{i}": list(generator.normal(100, 30, 3)) for i in range(40)}
    late = {name: [ms + 50 for ms in found] for name, found in early.items()}
    interval = compare_medians(early, late, FEW)
    assert interval.low == pytest.approx(50)
    assert interval.high == pytest.approx(50)
    shuffled = {name: list(generator.normal(100, 30, 3)) for name in early}
    interval = compare_medians(early, shuffled, FEW)
    assert interval.low < 0 < interval.high
    with pytest.raises(ValueError, match="same sessions"):
        compare_medians(early, {}, FEW)

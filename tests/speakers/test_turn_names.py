"""Turns named by voice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrlib.errors import DataError
from asrlib.speakers.turn_names import free_spans, name_turns, speech_of
from asrlib.text.turns import Turn

RATE = 100


def turn(start: float, end: float, channel: int = 0) -> Turn:
    return Turn("s", channel, start, end, "A")


def recording(*voices: tuple[float, float, int]) -> np.ndarray:
    """Samples whose value is the number of the voice; where two speak, their sum."""
    samples = np.zeros(3000)
    for start, end, voice in voices:
        samples[round(start * RATE) : round(end * RATE)] += voice
    return samples


def embed(samples_N: np.ndarray, rate: int) -> np.ndarray:
    """The share of each value among the samples: the voices are orthogonal."""
    if not len(samples_N):
        raise DataError("no samples", "give some")
    return np.array([float(np.mean(samples_N == k)) for k in range(8)])


def names(turns, samples, threshold=0.5):
    return [t.speaker for t in name_turns(turns, samples, RATE, embed, threshold)]


def test_two_voices_that_take_turns_on_any_channel_are_two_speakers():
    spoken = [(0.0, 3.0, 1), (4.0, 7.0, 2), (8.0, 10.0, 1), (11.0, 12.0, 2)]
    turns = [
        turn(start, end, channel)
        for (start, end, _), channel in zip(spoken, (0, 0, 1, 1), strict=True)
    ]
    found = names(turns, recording(*spoken))
    assert found == ["speaker1", "speaker2", "speaker1", "speaker2"]


def test_overlapped_speech_is_left_out_of_a_voice():
    spoken = [(0.0, 4.0, 1), (3.0, 7.0, 2), (8.0, 10.0, 2)]
    turns = [turn(0.0, 4.0), turn(3.0, 7.0, 1), turn(8.0, 10.0)]
    assert names(turns, recording(*spoken), 0.99) == ["speaker1", "speaker2", "speaker2"]


def test_turns_at_the_same_time_are_never_one_speaker():
    turns = [turn(0.0, 4.0), turn(1.0, 3.0, 1)]
    assert names(turns, recording((0.0, 4.0, 1)), 0.0) == ["speaker1", "speaker2"]


def test_a_turn_without_samples_keeps_no_speaker():
    assert names([turn(0.0, 2.0), turn(40.0, 41.0)], recording((0.0, 2.0, 1))) == ["speaker1", None]


TIMES = st.tuples(st.floats(0, 20), st.floats(0.1, 5)).map(lambda t: (t[0], t[0] + t[1]))


@given(st.lists(TIMES, min_size=1, max_size=6))
def test_free_spans_lie_in_the_turn_and_outside_all_others(times):
    turns = [turn(start, end, i) for i, (start, end) in enumerate(times)]
    first, others = turns[0], turns[1:]
    spans = free_spans(first, turns)
    inside = np.linspace(first.start, first.end, 200).tolist()
    for t in inside:
        busy = any(o.start < t < o.end for o in others)
        held = any(a <= t <= b for a, b in spans)
        on_edge = any(t in (o.start, o.end) for o in others)
        assert on_edge or held != busy


def test_a_wholly_overlapped_turn_is_heard_as_it_is():
    samples = recording((0.0, 4.0, 1))
    inner = turn(1.0, 2.0, 1)
    speech = speech_of(inner, [turn(0.0, 4.0), inner], samples, RATE)
    assert len(speech) == pytest.approx(RATE)

"""What a stream takes, refuses, and makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming_fakes import RATE, babble, recognizer_of, transcribe

from asrlib.errors import DataError
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.streaming import Stream, StreamingRecognizer
from asrlib.streaming.result import StreamClock
from asrlib.streaming.stream import AudioFront, FrameQueue


@pytest.fixture(scope="module")
def recognizer(random_models, tokenizer) -> StreamingRecognizer:
    return recognizer_of(random_models["lstm", "stateless"], tokenizer)


@pytest.fixture
def stream(recognizer) -> Stream:
    return recognizer.create_stream()


@pytest.mark.parametrize(
    ("samples", "rate", "reason"),
    [
        (torch.zeros(10, 2), RATE, "one channel"),
        (torch.zeros(10, dtype=torch.int16), RATE, "int16"),
        (np.array([0.0, np.nan], dtype=np.float32), RATE, "NaN"),
        (torch.tensor([float("inf")]), RATE, "not numbers"),
        (torch.zeros(10), 0, "0 Hz"),
    ],
)
def test_refused_audio(stream, samples, rate, reason):
    with pytest.raises(DataError, match=reason) as caught:
        stream.accept(samples, rate)
    assert caught.value.fix


def test_the_rate_may_not_change(stream):
    stream.accept(torch.zeros(100), 8000)
    with pytest.raises(DataError, match="8000 Hz to 16000 Hz"):
        stream.accept(torch.zeros(100), 16000)


def test_a_finished_stream_takes_no_audio(stream):
    stream.accept(torch.zeros(1000), RATE)
    stream.finish()
    ready = stream.available
    stream.finish()
    assert stream.available == ready
    with pytest.raises(DataError, match="finished"):
        stream.accept(torch.zeros(1), RATE)


def test_arrays_doubles_and_nothing_are_audio(recognizer):
    samples = babble(1.0)
    stream = recognizer.create_stream()
    for piece in (samples[:0].numpy(), samples[:5000].double().numpy(), samples[5000:]):
        stream.accept(piece, RATE)
    stream.finish()
    recognizer.step([stream])
    assert recognizer.result(stream).tokens == transcribe(recognizer, samples).tokens


@settings(deadline=None, max_examples=50)
@given(
    num_samples=st.integers(1, 40_000),
    subsampling=st.integers(1, 8),
    lookahead=st.integers(0, 40),
    tail=st.sampled_from([0.0, 0.1, 0.3]),
)
def test_the_tail_completes_the_last_group(num_samples, subsampling, lookahead, tail):
    config = FbankConfig()
    clock = StreamClock.of(config, subsampling, lookahead)
    front = AudioFront(FbankExtractor(config), clock, tail)
    samples = babble(num_samples / RATE, seed=5)
    x_TF = torch.cat([*front.accept(samples, RATE), *front.finish()])
    assert len(x_TF) % subsampling == 0
    least = (len(samples) + tail * RATE) / config.shift + lookahead
    assert least <= len(x_TF) + 1e-6 < least + 1 + subsampling
    # The frames are those of the audio with zeros behind it: no invented features.
    padded = torch.cat([samples, torch.zeros(len(x_TF) * config.shift - len(samples))])
    torch.testing.assert_close(x_TF, FbankExtractor(config)(padded), atol=1e-4, rtol=0)
    assert front.seconds == pytest.approx(len(padded) / RATE)


@given(st.lists(st.integers(0, 9), max_size=20), st.data())
def test_frame_queue_is_first_in_first_out(sizes, data):
    queue = FrameQueue()
    total = sum(sizes)
    frames = torch.arange(total, dtype=torch.float32).unsqueeze(1)
    for piece in frames.split(sizes) if total else ():
        queue.put(piece)
    taken = []
    while len(queue):
        taken.append(queue.take(data.draw(st.integers(1, len(queue)))))
    assert torch.equal(torch.cat([frames[:0], *taken]), frames)


def test_clock():
    clock = StreamClock(frame_shift=0.01, window=0.025, subsampling=4, lookahead=8)
    assert clock.frame == pytest.approx(0.04)
    assert clock.heard(1) == pytest.approx(0.04 + 0.08 + 0.0075)
    assert clock.token_time(0) == clock.heard(1)

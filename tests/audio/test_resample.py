"""A resampled stream is the resampled whole."""

from itertools import pairwise

import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.audio.resample import StreamingResampler


def stream(resampler, samples_N, cuts):
    edges = [0, *sorted(min(c, len(samples_N)) for c in cuts), len(samples_N)]
    parts = [resampler.accept(samples_N[a:b]) for a, b in pairwise(edges)]
    return torch.cat([*parts, resampler.finish()])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
@settings(deadline=None, max_examples=25)
@given(
    length=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    seed=st.integers(0, 99),
)
def test_pieces_equal_the_whole(rate, length, cuts, seed):
    samples_N = torch.randn(length, generator=torch.Generator().manual_seed(seed))
    out_M = stream(StreamingResampler(rate, 16000), samples_N, cuts)
    if length == 0:
        assert out_M.numel() == 0
        return
    whole_M = torchaudio.functional.resample(samples_N, rate, 16000)
    assert out_M.shape == whole_M.shape
    torch.testing.assert_close(out_M, whole_M, atol=1e-6, rtol=0)


def test_equal_rates_pass_through():
    samples_N = torch.randn(1000)
    out_N = stream(StreamingResampler(16000, 16000), samples_N, [1, 300])
    assert torch.equal(out_N, samples_N)


def test_output_does_not_wait_for_the_end():
    resampler = StreamingResampler(8000, 16000)
    out_M = resampler.accept(torch.randn(8000))
    assert len(out_M) > 2 * (8000 - 50)


def test_memory_stays_bounded():
    resampler = StreamingResampler(44100, 16000)
    for _ in range(50):
        resampler.accept(torch.randn(4410))
    assert resampler._buffer_N.numel() < 2000


def test_a_finished_stream_takes_no_more():
    resampler = StreamingResampler(8000, 16000)
    resampler.finish()
    with pytest.raises(RuntimeError, match="finished"):
        resampler.accept(torch.zeros(1))


def test_rates_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        StreamingResampler(0, 16000)

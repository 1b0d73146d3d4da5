"""The extractor equals kaldifeat; the stream equals the extractor."""

from itertools import pairwise

import kaldifeat
import pytest
import soundfile
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asrlib.errors import ConfigError
from asrlib.features.fbank import FbankConfig, FbankExtractor, fbank_options

CONFIG = FbankConfig()
EXTRACTOR = FbankExtractor(CONFIG)
KALDIFEAT = kaldifeat.Fbank(fbank_options(CONFIG, snip_edges=False))
CLOSE = {"atol": 1e-5, "rtol": 0}


def noise(length, seed=0):
    return 0.1 * torch.randn(length, generator=torch.Generator().manual_seed(seed))


def online(samples_N):
    computer = kaldifeat.OnlineFbank(fbank_options(CONFIG, snip_edges=False))
    computer.accept_waveform(CONFIG.sample_rate, samples_N.clone())
    computer.input_finished()
    ready = computer.num_frames_ready
    return torch.cat(computer.get_frames(list(range(ready)))) if ready else torch.zeros(0, 80)


def stream(samples_N, cuts):
    edges = [0, *sorted(min(c, len(samples_N)) for c in cuts), len(samples_N)]
    pieces = EXTRACTOR.stream()
    parts = [pieces.accept(samples_N[a:b]) for a, b in pairwise(edges)]
    return torch.cat([*parts, pieces.finish()])


# kaldifeat.Fbank itself cannot take fewer samples than half a window
@settings(deadline=None, max_examples=40)
@given(length=st.integers(200, 6000), seed=st.integers(0, 99))
def test_equals_kaldifeat(length, seed):
    samples_N = noise(length, seed)
    torch.testing.assert_close(EXTRACTOR(samples_N), KALDIFEAT(samples_N), **CLOSE)


@settings(deadline=None, max_examples=40)
@given(length=st.integers(1, 6000), seed=st.integers(0, 99))
def test_equals_kaldifeat_online(length, seed):
    samples_N = noise(length, seed)
    torch.testing.assert_close(EXTRACTOR(samples_N), online(samples_N), **CLOSE)


@settings(deadline=None, max_examples=60)
@given(length=st.integers(0, 5000), cuts=st.lists(st.integers(0, 5000), max_size=20))
def test_stream_equals_whole(length, cuts):
    samples_N = noise(length)
    whole_TF = EXTRACTOR(samples_N)
    assert whole_TF.shape == (CONFIG.num_frames(length), 80)
    torch.testing.assert_close(stream(samples_N, cuts), whole_TF, **CLOSE)


@pytest.mark.parametrize("length", [1, 79, 80, 119, 120, 121, 399, 400, 401])
def test_stream_sample_by_sample(length):
    samples_N = noise(length)
    torch.testing.assert_close(stream(samples_N, range(length)), EXTRACTOR(samples_N), **CLOSE)


@settings(deadline=None, max_examples=20)
@given(
    shift=st.sampled_from([5.0, 10.0, 12.5, 20.0, 25.0]),
    length=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=5),
)
@example(shift=20.0, length=160, cuts=[])
def test_other_shifts(shift, length, cuts):
    config = FbankConfig(frame_shift_ms=shift, num_bins=40)
    samples_N = noise(length)
    computer = kaldifeat.OnlineFbank(fbank_options(config, snip_edges=False))
    if length:
        # A copy: `input_finished` may leave the tensor it was given empty.
        computer.accept_waveform(16000, samples_N.clone())
    computer.input_finished()
    ready = computer.num_frames_ready
    expected = computer.get_frames(list(range(ready)))
    edges = [0, *sorted(min(c, length) for c in cuts), length]
    pieces = FbankExtractor(config).stream()
    parts = [pieces.accept(samples_N[a:b]) for a, b in pairwise(edges)]
    out_TF = torch.cat([*parts, pieces.finish()])
    torch.testing.assert_close(out_TF, torch.cat([torch.zeros(0, 40), *expected]), **CLOSE)


def test_long_audio_is_cut_into_calls_unnoticed():
    samples_N = noise(16000 * 61)  # beyond _FRAMES_PER_CALL
    torch.testing.assert_close(EXTRACTOR(samples_N), KALDIFEAT(samples_N), **CLOSE)


def test_a_frame_comes_as_soon_as_its_samples():
    pieces = EXTRACTOR.stream()
    assert len(pieces.accept(noise(279))) == 0
    assert len(pieces.accept(noise(1))) == 1  # window 400, of which 120 are mirrored
    assert len(pieces.accept(noise(159))) == 0
    assert len(pieces.accept(noise(1))) == 1


def test_stream_memory_stays_bounded():
    pieces = EXTRACTOR.stream()
    for _ in range(100):
        pieces.accept(noise(1600))
    assert pieces._kept_N.numel() <= 2 * CONFIG.window


def test_the_caller_may_reuse_its_buffer():
    samples_N, buffer_N = noise(3000), torch.zeros(100)
    pieces, parts = EXTRACTOR.stream(), []
    for piece_N in samples_N.split(100):
        buffer_N.copy_(piece_N)
        parts.append(pieces.accept(buffer_N))
        buffer_N.zero_()
    parts.append(pieces.finish())
    torch.testing.assert_close(torch.cat(parts), EXTRACTOR(samples_N), **CLOSE)


def test_future_samples_change_no_past_frame():
    a_N, b_N = noise(4000), noise(4000)
    b_N[2000:] += 1.0
    a, b = EXTRACTOR.stream(), EXTRACTOR.stream()
    assert torch.equal(a.accept(a_N[:2000]), b.accept(b_N[:2000]))


def test_a_finished_stream_takes_no_more():
    pieces = EXTRACTOR.stream()
    pieces.finish()
    with pytest.raises(RuntimeError, match="finished"):
        pieces.accept(torch.zeros(1))


def test_shift_beyond_length_is_refused():
    with pytest.raises(ConfigError, match="frame_shift_ms"):
        FbankConfig(frame_shift_ms=30.0)


@pytest.mark.realdata
def test_real_audio(shared_data):
    for path in sorted(shared_data.glob("an4/wav/an4test_clstk/*/*.flac"))[::25]:
        samples_N = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        whole_TF = EXTRACTOR(samples_N)
        torch.testing.assert_close(whole_TF, KALDIFEAT(samples_N), **CLOSE)
        torch.testing.assert_close(whole_TF, online(samples_N), atol=1e-4, rtol=0)
        for piece in (160, 1000, 4001):
            cuts = range(piece, len(samples_N), piece)
            torch.testing.assert_close(stream(samples_N, cuts), whole_TF, atol=1e-4, rtol=0)

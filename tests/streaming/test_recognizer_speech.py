"""Streaming equals offline on real speech, with models that know what is said."""

from __future__ import annotations

import pytest
import torch
import torchaudio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streaming_fakes import ENCODERS, RATE, outcome, recognizer_of, transcribe

from asrlib.searches import SEARCHES
from asrlib.streaming import StreamingRecognizer

pytestmark = pytest.mark.realdata

CASES = [(encoder, search) for encoder in ENCODERS for search in SEARCHES]


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def recognizer(request, trained_models, tokenizer) -> StreamingRecognizer:
    encoder, search = request.param
    return recognizer_of(trained_models[encoder], tokenizer, search)


@pytest.fixture(scope="module")
def offline(recognizer, speech) -> list[tuple]:
    return [outcome(transcribe(recognizer, samples)) for samples in speech.samples]


def test_the_models_know_the_utterances(offline, speech):
    """Else what follows would say little."""
    right = sum(text == known for (text, *_), known in zip(offline, speech.texts, strict=True))
    assert right >= len(speech.texts) / 2
    assert all(outcome[1] for outcome in offline)


@pytest.mark.parametrize("size", [160, 320, 1000, 5120, 16001])
def test_pieces_of_ten_milliseconds_to_the_whole(recognizer, speech, offline, size):
    streamed = [outcome(transcribe(recognizer, s, [size])) for s in speech.samples]
    assert streamed == offline


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_pieces_of_any_sizes(recognizer, speech, offline, data):
    index = data.draw(st.integers(0, len(speech.samples) - 1))
    sizes = data.draw(st.lists(st.integers(1, 20_000), min_size=1, max_size=8))
    sizes.append(max(160, sum(sizes) // len(sizes)))
    assert outcome(transcribe(recognizer, speech.samples[index], sizes)) == offline[index]


@pytest.mark.parametrize("chunk", [160, 4096])
def test_batches_of_unequal_lengths(recognizer, speech, offline, chunk):
    streams = [recognizer.create_stream() for _ in speech.samples]
    for turn in range(max(map(len, speech.samples)) // chunk + 2):
        # Each joins two turns after the one before.
        for i, (stream, samples) in enumerate(zip(streams, speech.samples, strict=True)):
            start = (turn - 2 * i) * chunk
            if start >= 0 and not stream.finished:
                stream.accept(samples[start : start + chunk], RATE)
                if start + chunk >= len(samples):
                    stream.finish()
        recognizer.step(streams)
    for stream, samples in zip(streams, speech.samples, strict=True):
        if not stream.finished:  # joined too late for the loop above
            given = round(stream.seconds * RATE)
            stream.accept(samples[given:], RATE)
            stream.finish()
    recognizer.step(streams)
    assert [outcome(recognizer.result(stream)) for stream in streams] == offline


def test_8_khz_and_44_khz(recognizer, speech, offline):
    samples = speech.samples[-1]
    fine = torchaudio.functional.resample(samples, RATE, 44100)
    assert transcribe(recognizer, fine, [441], 44100).text == offline[-1][0]
    coarse = torchaudio.functional.resample(samples, RATE, 8000)
    whole = transcribe(recognizer, coarse, rate=8000)
    assert outcome(transcribe(recognizer, coarse, [80], 8000)) == outcome(whole)


def test_silence_after_speech_is_no_speech(recognizer, speech, offline, trained_models):
    """A second of silence takes nothing back of what is heard without it, and adds nothing.

    Models with convolutions may add something. Their training of six utterances has no silence
    after speech, and what they make of it is chance: it differs between processors, whose sums are
    rounded differently.
    """
    for index in (0, -1):  # a long utterance and a word
        _, tokens, times, words, *_ = offline[index]
        padded = torch.cat([speech.samples[index], torch.zeros(RATE)])
        result = transcribe(recognizer, padded, [800])
        assert outcome(result) == outcome(transcribe(recognizer, padded))
        assert result.tokens[: len(tokens)] == tokens
        assert result.token_times[: len(times)] == times
        if all(recognizer.model is not trained_models[n] for n in ("contextnet", "conv_rnnt")):
            assert (result.tokens, result.words) == (tokens, words)

"""Laws of the recogniser on random models: pieces, company and rates change nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streaming_fakes import (
    RATE,
    babble,
    finish,
    outcome,
    recognizer_of,
    transcribe,
)

from asrlib.audio.resample import StreamingResampler
from asrlib.errors import ConfigError
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.searches import SEARCHES
from asrlib.streaming import DecodeConfig, StreamingRecognizer
from asrlib.streaming.endpoint import EndpointConfig, EndpointRule
from asrlib.streaming.fast_beam import FastBeamConfig

CASES = [
    (encoder, predictor, search)
    for encoder in ("lstm", "conv_rnnt")
    for predictor in ("stateless", "lstm")
    for search in SEARCHES
    if (predictor, search) != ("lstm", "fast_beam")
]
EAGER = EndpointConfig(
    enabled=True,
    rule1=EndpointRule(trailing_silence=0.8),
    rule2=EndpointRule(needs_token=True, trailing_silence=0.2),
    rule3=EndpointRule(utterance_length=1.0),
)


@pytest.fixture(params=CASES, ids=["-".join(case) for case in CASES])
def recognizer(request, random_models, tokenizer) -> StreamingRecognizer:
    encoder, predictor, search = request.param
    return recognizer_of(random_models[encoder, predictor], tokenizer, search)


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    sizes=st.lists(st.integers(1, RATE), min_size=1, max_size=5).map(lambda s: [*s, 1600]),
    seconds=st.floats(0.01, 3.0),
    endpoint=st.booleans(),
)
def test_pieces_change_nothing(recognizer, sizes, seconds, endpoint):
    samples = babble(seconds, seed=1)
    config = replace(recognizer.config, endpoint=EAGER if endpoint else EndpointConfig())
    recognizer = StreamingRecognizer(
        recognizer.model, recognizer.tokenizer, recognizer.fbank, config
    )
    whole = transcribe(recognizer, samples)
    assert outcome(transcribe(recognizer, samples, sizes)) == outcome(whole)
    assert whole.is_final


def test_the_models_have_something_to_say(recognizer):
    result = transcribe(recognizer, babble(4.0, seed=1))
    assert len(set(result.tokens)) >= 2
    assert list(result.token_times) == sorted(result.token_times)
    assert len(result.token_log_probs) == len(result.tokens) == len(result.pieces)
    assert all(p <= 0 for p in result.token_log_probs)


def test_company_changes_nothing(recognizer):
    """Streams of unequal lengths and pieces, joining and leaving a running batch."""
    lengths, sizes, joins = [2.0, 0.4, 3.1, 1.3], [160, 4000, 7777, 20000], [0, 3, 1, 5]
    audio = [babble(seconds, seed=i) for i, seconds in enumerate(lengths)]
    alone = [outcome(transcribe(recognizer, samples)) for samples in audio]
    streams = [recognizer.create_stream() for _ in audio]
    given = [0] * len(audio)
    for turn in range(10_000):
        for i, stream in enumerate(streams):
            if turn < joins[i] or stream.finished:
                continue
            stream.accept(audio[i][given[i] : given[i] + sizes[i]], RATE)
            given[i] += sizes[i]
            if given[i] >= len(audio[i]):
                stream.finish()
        recognizer.step(streams)
        if all(stream.finished for stream in streams):
            break
    assert [outcome(recognizer.result(stream)) for stream in streams] == alone


def test_long_pieces_go_through_the_encoder_in_parts(recognizer):
    config = replace(recognizer.config, max_chunk_frames=7)
    parts = StreamingRecognizer(recognizer.model, recognizer.tokenizer, recognizer.fbank, config)
    samples = babble(2.0)
    assert outcome(transcribe(parts, samples)) == outcome(transcribe(recognizer, samples))


def test_future_audio_changes_no_settled_token(random_models, tokenizer):
    recognizer = recognizer_of(random_models["conv_rnnt", "stateless"], tokenizer)
    samples = babble(3.0)
    stream = recognizer.create_stream()
    stream.accept(samples[:RATE], RATE)
    recognizer.step([stream])
    early = recognizer.result(stream)
    whole = transcribe(recognizer, samples)
    assert early.tokens
    assert whole.tokens[: len(early.tokens)] == early.tokens
    assert whole.token_times[: len(early.tokens)] == early.token_times


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_any_rate(random_models, tokenizer, rate):
    recognizer = recognizer_of(random_models["lstm", "stateless"], tokenizer)
    samples = babble(2.0, rate=rate)
    whole = transcribe(recognizer, samples, rate=rate)
    assert outcome(transcribe(recognizer, samples, [1, 700, 33], rate)) == outcome(whole)
    resampler = StreamingResampler(rate, RATE)
    resampled = torch.cat([resampler.accept(samples), resampler.finish()])
    assert whole.tokens == transcribe(recognizer, resampled).tokens
    assert whole.tokens


@pytest.mark.parametrize("search", SEARCHES)
def test_no_audio_one_sample_silence(random_models, tokenizer, search):
    recognizer = recognizer_of(random_models["lstm", "stateless"], tokenizer, search)
    empty = finish(recognizer, recognizer.create_stream())
    assert (empty.text, empty.tokens, empty.is_final) == ("", (), True)
    for length in (1, 100, RATE):
        samples = torch.zeros(length)
        whole = transcribe(recognizer, samples)
        assert whole.is_final
        assert whole.final_time is not None
        assert outcome(whole) == outcome(transcribe(recognizer, samples, [7]))


def test_partial_results_become_final(random_models, tokenizer):
    recognizer = recognizer_of(random_models["lstm", "stateless"], tokenizer)
    stream = recognizer.create_stream()
    stream.accept(babble(2.0), RATE)
    recognizer.step([stream])
    before = recognizer.result(stream)
    assert before.partial == before.text != ""
    assert not before.is_final
    assert before.final_time is None
    after = finish(recognizer, stream)
    assert after.is_final
    assert after.partial == ""
    assert after.final_time >= after.token_times[-1]


def test_token_times_are_the_audio_heard(random_models, tokenizer):
    """A token is out exactly when its stream time has been heard, not a frame before."""
    recognizer = recognizer_of(random_models["lstm", "stateless"], tokenizer)
    samples = babble(2.0)
    stream = recognizer.create_stream()
    out_at = []
    for start in range(0, len(samples), 160):
        stream.accept(samples[start : start + 160], RATE)
        recognizer.step([stream])
        result = recognizer.result(stream)
        out_at += [(start + 160) / RATE] * (len(result.tokens) - len(out_at))
    assert out_at
    for heard, time in zip(out_at, result.token_times, strict=True):
        assert heard - 0.01 < time <= heard + 1e-6


@pytest.mark.parametrize("search", SEARCHES)
def test_memory_does_not_grow_with_the_audio(random_models, tokenizer, search):
    """What a stream holds after minutes, tokens aside, is what it held after seconds.

    Hypotheses come and go; but for them, no more may stay than a tenth of a second of features.
    """
    fast = FastBeamConfig(max_lattice_frames=50)
    model = random_models["conv_rnnt", "stateless"]
    recognizer = recognizer_of(model, tokenizer, search, fast_beam=fast)
    stream = recognizer.create_stream()
    held = []
    for i in range(40):
        stream.accept(babble(1.5, seed=i), RATE)
        recognizer.step([stream])
        held.append(held_elements(stream))
    assert max(held[20:]) < max(held[:20]) + 10 * 80
    if search == "fast_beam":
        assert stream.channels[0].search_state.length <= 50


def held_elements(root: object) -> int:
    """Elements of the storages of all tensors that can be reached from `root`."""
    storages: dict[int, int] = {}
    seen: set[int] = set()
    stack = [root]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            storages[item.storage().data_ptr()] = item.storage().size()
        elif isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, (list, tuple)) or type(item).__name__ == "deque":
            stack += item
        elif type(item).__module__.startswith("asrlib") and not isinstance(item, FbankExtractor):
            slots = [getattr(item, name, None) for name in getattr(type(item), "__slots__", ())]
            stack += [*slots, *getattr(item, "__dict__", {}).values()]
    return sum(storages.values())


def test_fast_beam_wants_a_stateless_predictor(random_models, tokenizer):
    with pytest.raises(ConfigError, match="stateless") as caught:
        recognizer_of(random_models["lstm", "lstm"], tokenizer, "fast_beam")
    assert "modified_beam" in caught.value.fix


def test_features_must_be_those_of_the_model(random_models, tokenizer):
    fbank = FbankExtractor(FbankConfig(num_bins=40))
    with pytest.raises(ConfigError, match="40"):
        StreamingRecognizer(random_models["lstm", "lstm"], tokenizer, fbank, DecodeConfig())

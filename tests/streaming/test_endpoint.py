"""The three rules, by hand and in a stream."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from streaming_fakes import RATE, recognizer_of, small_config, transcribe

from asrlib.searches import SEARCHES
from asrlib.streaming import StreamingRecognizer
from asrlib.streaming.endpoint import EndpointConfig, EndpointRule, endpoint_time
from asrlib.transducer.model import Transducer

USUAL = EndpointConfig(enabled=True)


@pytest.mark.parametrize(
    ("last_token", "expected"),
    [
        (None, 2.4),  # rule 1: nothing was said
        (0.5, 1.7),  # rule 2: 1.2 s behind the last token
        (10.0, 11.2),
        (18.8, 20.0),  # rules 2 and 3 together
        (19.5, 20.0),  # rule 3: too long
        (20.5, 20.5),
    ],
)
def test_usual_rules(last_token, expected):
    assert endpoint_time(USUAL, last_token) == pytest.approx(expected)


def test_rules_that_need_a_token_wait_for_it():
    rule = EndpointRule(needs_token=True, trailing_silence=1.0)
    config = EndpointConfig(rule1=rule, rule2=rule, rule3=rule)
    assert endpoint_time(config, None) == math.inf
    assert endpoint_time(config, 3.0) == 4.0


@given(st.floats(0, 30), st.floats(0, 10))
def test_a_later_token_never_brings_the_endpoint_forward(last_token, later):
    assert endpoint_time(USUAL, last_token + later) >= endpoint_time(USUAL, last_token)


class LoudMeansToken(Transducer):
    """Emits token 5 in loud frames and blank in quiet ones, whatever came before."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__(small_config("lstm", "stateless", 32), 80, vocab_size)
        self.encoder.step = self._level
        self.joiner.forward = self._emit

    def _level(self, x_BTF, state):
        level_BS = x_BTF.mean(-1).unflatten(1, (-1, 4)).mean(-1)
        return level_BS.unsqueeze(-1).expand(-1, -1, 32), state

    def _emit(self, am, lm, project_input=True):
        logits = torch.full((*am.shape[:-1], 41), -50.0)
        logits[..., 0] = 0.0
        logits[..., 5] = 5 * (am[..., 0] + 10.0)
        return logits


@pytest.fixture(params=SEARCHES)
def recognizer(request, tokenizer) -> StreamingRecognizer:
    model = LoudMeansToken(41)
    model.joiner.encoder_proj = torch.nn.Identity()
    return recognizer_of(model, tokenizer, request.param, endpoint=USUAL)


def noise_at(*spans: tuple[float, float], length: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    samples = torch.zeros(round(length * RATE))
    for start, end in spans:
        loud = slice(round(start * RATE), round(end * RATE))
        samples[loud] = torch.randn(samples[loud].shape, generator=generator) * 0.3
    return samples


def test_pauses_make_segments(recognizer):
    samples = noise_at((0.5, 1.0), (3.0, 3.5), (4.0, 4.2), length=7.0)
    result = transcribe(recognizer, samples, [1600])
    # The pause of 0.5 s is none; that of 2 s is; the end is final 1.2 s behind the last token.
    assert [s.final_time for s in result.segments] == pytest.approx([2.25, 5.45], abs=0.15)
    assert result.segments[1].token_times[0] == pytest.approx(3.04, abs=0.08)
    assert len(result.tokens) == sum(len(s.tokens) for s in result.segments)
    assert result.partial == ""
    whole = transcribe(recognizer, samples)
    assert whole == result


def test_without_endpointing_the_final_time_is_the_same(recognizer):
    samples = noise_at((0.5, 1.0), length=5.0)
    cut = transcribe(recognizer, samples)
    config = replace(recognizer.config, endpoint=EndpointConfig())
    plain = StreamingRecognizer(recognizer.model, recognizer.tokenizer, recognizer.fbank, config)
    uncut = transcribe(plain, samples)
    assert uncut.tokens == cut.tokens
    assert uncut.final_time == pytest.approx(cut.final_time, abs=0.13)


def test_the_audio_s_end_is_final_at_the_latest(recognizer):
    result = transcribe(recognizer, noise_at((0.5, 1.0), length=1.2))
    assert result.final_time == pytest.approx(1.2, abs=0.05)


def test_long_utterances_are_cut(recognizer):
    rule3 = EndpointRule(utterance_length=2.0)
    config = replace(recognizer.config, endpoint=EndpointConfig(enabled=True, rule3=rule3))
    short = StreamingRecognizer(recognizer.model, recognizer.tokenizer, recognizer.fbank, config)
    result = transcribe(short, noise_at((0.0, 5.0), length=5.0), [5000])
    assert [s.final_time for s in result.segments[:2]] == pytest.approx([2.0, 4.0], abs=0.15)
    assert result.tokens == transcribe(recognizer, noise_at((0.0, 5.0), length=5.0)).tokens


def test_silence_gives_no_segments(recognizer):
    result = transcribe(recognizer, torch.zeros(10 * RATE))
    assert result.segments == ()
    assert result.text == ""

"""Turns out of tokens, the memory of a long meeting, and what a model of talkers refuses."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from streaming_fakes import RATE, babble, loud_model, recognizer_of
from talker_fakes import memory_cut
from test_recognizer import held_elements

from asrlib.encoders import LstmStackConfig, SeparatorConfig
from asrlib.errors import ConfigError
from asrlib.features.fbank import FbankConfig
from asrlib.searches import TURN_SEARCHES
from asrlib.streaming.endpoint import EndpointConfig
from asrlib.streaming.meeting_bench import measure_meeting
from asrlib.streaming.modified_beam import Emission, ModifiedBeamConfig, ModifiedBeamSearch
from asrlib.streaming.result import StreamClock
from asrlib.streaming.search import Hypothesis
from asrlib.streaming.talkers import ChannelTurns, TurnMaker
from asrlib.text.turn_labels import COT, EOT, SOT
from asrlib.transducer import StatelessConfig, Transducer, TransducerConfig


@pytest.fixture(scope="module")
def model(tokenizer) -> Transducer:
    """Random, loud, and as likely to say a turn symbol as a word: two frequent tokens are made
    symbols."""
    encoder = SeparatorConfig(
        lstm=LstmStackConfig(layers=1, hidden_dim=24, dropout=0.0), module_dim=24, output_dim=24
    )
    predictor = StatelessConfig(context=2, output_dim=32)
    config = TransducerConfig(encoder=encoder, predictor=predictor, joiner_dim=48)
    model = loud_model(config, tokenizer.vocab_size)
    recognizer = recognizer_of(model, tokenizer)
    stream = recognizer.create_stream()
    stream.accept(babble(20.0, seed=7), RATE)
    recognizer.step([stream])
    said = Counter(token for channel in stream.channels for token in channel.said.tokens)
    frequent = [token for token, _ in said.most_common(3)]
    output = model.joiner.output_linear
    with torch.no_grad():
        rows = [*frequent[1:], EOT, SOT]
        for x in (output.weight, output.bias):
            x[[EOT, SOT, *frequent[1:]]] = x[rows].clone()
    return model


def maker(tokenizer, style: str) -> TurnMaker:
    return TurnMaker(tokenizer, StreamClock.of(FbankConfig(), 4, 0), style)


@given(data=st.data())
@pytest.mark.parametrize("style", ["sot_eot", "cot"])
def test_turns_are_the_same_however_tokens_settle(tokenizer, style, data):
    """Symbols in any order, settled in pieces of any size: closed and open turns of the whole."""
    words = tokenizer.encode("ONE TWO GO")
    tokens = data.draw(st.lists(st.sampled_from([SOT, EOT, COT, *words]), max_size=25))
    frames = [3 * i for i in range(len(tokens))]
    make = maker(tokenizer, style)
    whole = make.all_turns(ChannelTurns(), 1, Hypothesis(tuple(tokens), tuple(frames)))
    said, start = ChannelTurns(), 0
    while start < len(tokens) and not data.draw(st.booleans(), label="stop"):
        size = data.draw(st.integers(1, 6))
        piece = slice(start, start + size)
        make.settle(said, 1, Hypothesis(tuple(tokens[piece]), tuple(frames[piece])), now=start)
        assert all(turn.closed_time <= start for turn in said.closed)
        start += size
        assert sum(t in (SOT, EOT, COT) for t in said.tokens) <= 1 + said.tokens.count(
            SOT if style == "cot" else COT
        ) + said.tokens.count(EOT if style == "cot" else COT)
    rest = Hypothesis(tuple(tokens[start:]), tuple(frames[start:]))
    turns = [replace(turn, closed_time=None) for turn in make.all_turns(said, 1, rest)]
    assert turns == whole


@pytest.mark.parametrize("search", TURN_SEARCHES)
def test_memory_does_not_grow_over_a_meeting(model, tokenizer, search):
    """After minutes a stream whose closed turns are taken holds what it held after seconds.

    Audio, states, beams, chains of tokens: counted as elements of tensors, and as objects.
    """
    recognizer = recognizer_of(model, tokenizer, search)
    stream = recognizer.create_stream()
    held, tokens, taken = [], [], 0
    for i in range(40):
        stream.accept(babble(2.0, seed=i), RATE)
        recognizer.step([stream])
        taken += len(recognizer.take_turns(stream))
        held.append(held_elements(stream))
        best = [recognizer.search.best(c.search_state) for c in stream.channels]
        tokens.append(sum(len(c.said.tokens) for c in stream.channels))
        tokens[-1] += sum(len(b.tokens) for b in best)
    assert taken > 10
    assert max(held[20:]) < max(held[:20]) + 10 * 80
    # What is open is that of turns, not of the meeting: this model's are long.
    assert max(tokens[20:]) < 500


@pytest.mark.parametrize("search", TURN_SEARCHES)
def test_taken_turns_and_the_rest_are_all_turns(model, tokenizer, search):
    recognizer = recognizer_of(model, tokenizer, search)
    samples = babble(12.0, seed=3)
    streams = [recognizer.create_stream() for _ in range(2)]
    taken = []
    for piece in samples.split(8000):
        for stream in streams:
            stream.accept(piece, RATE)
        recognizer.step(streams)
        taken += recognizer.take_turns(streams[0])
    for stream in streams:
        stream.finish()
    recognizer.step(streams)
    kept = recognizer.turns(streams[1])
    assert len(taken) > 0
    assert {turn.channel for turn in kept} == {0, 1}
    rest = recognizer.turns(streams[0])
    assert sorted([*taken, *rest], key=lambda t: (t.start, t.channel)) == kept
    assert all(turn.words and turn.start <= turn.end for turn in kept)


def test_a_measured_meeting_is_its_mixtures_in_a_row(model, tokenizer, tmp_path):
    """One after another and again, as one stream: as many turns as that audio has in one piece."""
    samples = [babble(3.0, seed=i) for i in range(2)]
    mixtures = [memory_cut(f"m{i}", x, "", str(tmp_path)) for i, x in enumerate(samples)]
    recognizer = recognizer_of(model, tokenizer)
    cost = measure_meeting(recognizer, mixtures, minutes=0.2)
    stream = recognizer.create_stream()
    stream.accept(torch.cat(samples * 2), RATE)
    stream.finish()
    recognizer.step([stream])
    assert cost.turns == len(recognizer.turns(stream)) > 0
    assert cost.minutes == pytest.approx(0.2)
    assert 0 < cost.early_memory_mb == pytest.approx(cost.memory_mb, rel=0.1)
    assert cost.real_time_factor > 0


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"endpoint": replace(EndpointConfig(), enabled=True)}, "decode.endpoint.enabled"),
        ({"search": "fast_beam"}, "fast_beam"),
    ],
)
def test_what_knows_no_turns_is_refused(model, tokenizer, config, words):
    with pytest.raises(ConfigError, match=words):
        recognizer_of(model, tokenizer, **config)


def test_no_audio_gives_no_turn(model, tokenizer):
    recognizer = recognizer_of(model, tokenizer)
    stream = recognizer.create_stream()
    stream.finish()
    recognizer.step([stream])
    assert recognizer.turns(stream) == recognizer.take_turns(stream) == []


@pytest.mark.parametrize(("share", "age", "handed_out"), [(0.6, 5, 1), (0.6, 13, 2), (0.96, 5, 2)])
def test_the_end_of_a_turn_is_settled_when_it_is_sure_or_old(model, share, age, handed_out):
    """Two hypotheses after a shared word: that the turn was closed then, and that it goes on."""
    search = ModifiedBeamSearch(model, ModifiedBeamConfig())
    state = search.initial_state()
    (start,) = state.beam
    word = state.extend(start.history, 5)
    spoken = Emission(1, -0.1, None)
    closed = replace(
        start,
        history=state.extend(word, EOT),
        emission=Emission(3, -0.5, spoken),
        score=math.log(share),
    )
    goes_on = replace(start, history=word, emission=spoken, score=math.log(1 - share))
    state.beam, state.frame = [closed, goes_on], 3 + age
    settled = search.settle(state, {EOT})
    assert settled.tokens == (5, EOT)[:handed_out]
    assert settled.frames == (1, 3)[:handed_out]
    assert len(state.beam) == (2 if handed_out == 1 else 1)


@pytest.mark.parametrize("search", TURN_SEARCHES)
def test_turns_know_when_they_were_handed_out(model, tokenizer, search):
    recognizer = recognizer_of(model, tokenizer, search)
    stream = recognizer.create_stream()
    for i in range(4):
        stream.accept(babble(3.0, seed=i), RATE)
        before = recognizer.clock.heard(stream.channels[0].frames)
        recognizer.step([stream])
        now = recognizer.clock.heard(stream.channels[0].frames)
        for turn in recognizer.take_turns(stream):
            assert before < turn.closed_time <= now
            assert turn.end <= turn.closed_time
        assert all(turn.closed_time is None for turn in recognizer.turns(stream))
    stream.finish()
    recognizer.step([stream])
    end = recognizer.clock.heard(stream.channels[0].frames)
    assert all(turn.closed_time <= end for turn in recognizer.turns(stream))

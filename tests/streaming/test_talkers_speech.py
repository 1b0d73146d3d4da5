"""Two talkers on real speech: all laws of the recogniser hold for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torchaudio
from conftest import read_an4
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streaming_fakes import RATE, pieces_of, recognizer_of
from talker_fakes import Mixture, collate, memory_cut, overlapping
from torch import Tensor

from asrlib.encoders import LstmStackConfig, SeparatorConfig
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.streaming import StreamingRecognizer
from asrlib.text.tokenizer import TALKER_SYMBOLS
from asrlib.text.turns import Turn
from asrlib.transducer import (
    LossConfig,
    StatelessConfig,
    Transducer,
    TransducerConfig,
    TurnTargets,
)

pytestmark = pytest.mark.realdata

STEPS, RATE_OF_LEARNING = 120, 1e-2
SUBSAMPLING = 8
GROUP = SUBSAMPLING * 160  # samples


@pytest.fixture(scope="module")
def mixtures(shared_data, tmp_path_factory) -> list[Mixture]:
    """Three short turns, the first and the last on one channel; and one alone."""
    folder = tmp_path_factory.mktemp("mixtures")
    speech = read_an4(shared_data / "an4", 30)
    short = sorted(zip(speech.samples, speech.texts, strict=True), key=lambda u: len(u[0]))[:4]
    cuts = [memory_cut(f"u{i}", *utterance, str(folder)) for i, utterance in enumerate(short)]
    mixed = [overlapping(cuts[:3], "three", overlap=0.2), overlapping(cuts[3:], "one")]
    # Whole groups of frames: a stream completes the last, of which training would know nothing.
    return [replace(m, samples_M=F.pad(m.samples_M, (0, -len(m.samples_M) % GROUP))) for m in mixed]


@pytest.fixture(scope="module")
def model(mixtures, tokenizer) -> Transducer:
    """A small model that knows the mixtures by heart."""
    torch.manual_seed(1)
    stack = LstmStackConfig(layers=1, hidden_dim=96, residual=True, dropout=0.0)
    encoder = SeparatorConfig(
        subsampling=SUBSAMPLING, input_dim=96, lstm=stack, module_dim=96, output_dim=96
    )
    loss = LossConfig(
        warmup_steps=1,
        ctc_scale=2.0,
        rnnt_type="modified",
        masking=0.02,
        fast_emit=0.005,
        eot_penalty=2.0,
    )
    predictor = StatelessConfig(context=2, output_dim=32)
    config = TransducerConfig(encoder=encoder, predictor=predictor, joiner_dim=48, loss=loss)
    model = Transducer(config, 80, tokenizer.vocab_size)
    batch = collate(mixtures, tokenizer, FbankExtractor(FbankConfig()))
    valid = torch.arange(batch.x_BTF.shape[1]) < batch.x_lengths_B.unsqueeze(1)
    model.encoder.norm.set_stats(batch.x_BTF[valid].mean(0), batch.x_BTF[valid].std(0))
    turns = TurnTargets(batch.turn_ends_BNU.flatten(0, 1) * 100, batch.speech_BNT.flatten(0, 1))
    tokens = batch.tokens_BNU.flatten(0, 1), batch.token_lengths_BN.flatten()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE_OF_LEARNING)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE_OF_LEARNING, total_steps=STEPS)
    for step in range(STEPS):
        result = model.loss(batch.x_BTF, batch.x_lengths_B, *tokens, step, turns)
        optimizer.zero_grad()
        (result.total_B.sum() / tokens[1].sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@pytest.fixture(scope="module", params=["greedy", "modified_beam"])
def recognizer(request, model, tokenizer) -> StreamingRecognizer:
    return recognizer_of(model, tokenizer, request.param)


def transcribe(
    recognizer: StreamingRecognizer,
    samples: Tensor,
    sizes: Sequence[int] = (),
    take: bool = False,
    rate: int = RATE,
) -> list[Turn]:
    """All turns; `take`: those that close are handed out at once."""
    stream, taken = recognizer.create_stream(), []
    for piece in pieces_of(samples, sizes):
        stream.accept(piece, rate)
        recognizer.step([stream])
        if take:
            taken += recognizer.take_turns(stream)
    stream.finish()
    recognizer.step([stream])
    turns = [*taken, *recognizer.turns(stream)]
    return sorted(turns, key=lambda turn: (turn.start, turn.channel))


@pytest.fixture(scope="module")
def offline(recognizer, mixtures) -> list[list[Turn]]:
    return [transcribe(recognizer, mixture.samples_M) for mixture in mixtures]


def test_each_turn_comes_on_its_channel(offline, mixtures, tokenizer):
    """In order of start; the model knows them by heart, or what follows would say little."""
    for turns, mixture in zip(offline, mixtures, strict=True):
        known = [(c, tokenizer.decode(tokenizer.encode(text))) for c, _, _, text in mixture.turns]
        assert [(turn.channel, turn.words) for turn in turns] == known


def test_times_are_those_of_the_stream(offline, mixtures):
    """A model that knows all by heart may speak early; but never after the tail."""
    for turns, mixture in zip(offline, mixtures, strict=True):
        for turn in turns:
            assert 0 < turn.start <= turn.end < len(mixture.samples_M) / RATE + 0.5
            assert turn.start == turn.word_times[0][1]
            assert [word for word, _, _ in turn.word_times] == turn.words.split()


def test_only_turns_between_others_have_symbols(offline):
    """The first opening and the last closing of a channel are dropped from the labels."""
    first, _, third = offline[0]
    assert first.sot_time is None
    assert first.end == first.eot_time >= first.word_times[-1][2]
    assert first.eot_time <= third.sot_time <= third.start
    assert third.eot_time is None


def test_symbols_are_never_in_the_text(offline):
    assert not any(s in turn.words for turns in offline for turn in turns for s in TALKER_SYMBOLS)


@pytest.mark.parametrize("size", [160, 1000, 5120])
@pytest.mark.parametrize("take", [False, True])
def test_pieces_of_any_size_give_the_same_turns(recognizer, mixtures, offline, size, take):
    assert [transcribe(recognizer, m.samples_M, [size], take) for m in mixtures] == offline


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_pieces_of_mixed_sizes(recognizer, mixtures, offline, data):
    index = data.draw(st.integers(0, len(mixtures) - 1))
    sizes = data.draw(st.lists(st.integers(1, 20_000), min_size=1, max_size=6))
    sizes.append(max(800, sum(sizes) // len(sizes)))
    take = data.draw(st.booleans())
    assert transcribe(recognizer, mixtures[index].samples_M, sizes, take) == offline[index]


def test_audio_of_any_rate(recognizer, mixtures, offline):
    """Finer audio gives the same turns; coarser loses its upper half, but not to the pieces."""
    samples = mixtures[0].samples_M
    fine = torchaudio.functional.resample(samples, RATE, 44100)
    turns = transcribe(recognizer, fine, [441], rate=44100)
    words = [[(turn.channel, turn.words) for turn in result] for result in (turns, offline[0])]
    assert words[0] == words[1]
    coarse = torchaudio.functional.resample(samples, RATE, 8000)
    whole = transcribe(recognizer, coarse, rate=8000)
    assert whole
    assert transcribe(recognizer, coarse, [80], take=True, rate=8000) == whole


def test_streams_of_a_batch_give_what_they_give_alone(recognizer, mixtures, offline):
    """Each joins three chunks after the one before, and they end at different times."""
    streams = [recognizer.create_stream() for _ in mixtures]
    chunk = 4096
    for k in range(max(len(m.samples_M) for m in mixtures) // chunk + 8):
        for i, (stream, mixture) in enumerate(zip(streams, mixtures, strict=True)):
            start = (k - 3 * i) * chunk
            if start >= 0 and not stream.finished:
                stream.accept(mixture.samples_M[start : start + chunk], RATE)
                if start + chunk >= len(mixture.samples_M):
                    stream.finish()
        recognizer.step(streams)
    assert all(stream.finished for stream in streams)
    assert [recognizer.turns(stream) for stream in streams] == offline


def test_a_closed_turn_is_handed_out_before_the_audio_ends(recognizer, mixtures, offline):
    first, mixture = offline[0][0], mixtures[0]
    stream = recognizer.create_stream()
    for piece in mixture.samples_M.split(1600):
        stream.accept(piece, RATE)
        recognizer.step([stream])
        taken = recognizer.take_turns(stream, "meeting")
        if taken:
            break
    assert taken == [replace(first, session="meeting")]
    assert first.eot_time <= stream.seconds < len(mixture.samples_M) / RATE
    # Within a look at the turns, and for the beam until its hypotheses agree.
    assert stream.seconds < first.eot_time + 1.0
    assert recognizer.take_turns(stream) == []


def test_settling_changes_no_token_of_the_beam(model, tokenizer, mixtures, recognizer):
    """Looks at the turns, however often, are no part of the search."""
    endpoint = recognizer.config.endpoint
    results = []
    for interval in (0.08, 1000.0):
        config = {"endpoint": replace(endpoint, interval=interval)}
        other = recognizer_of(model, tokenizer, recognizer.config.search, **config)
        results.append([transcribe(other, m.samples_M, [1600]) for m in mixtures])
    words = [[[(t.channel, t.words) for t in turns] for turns in result] for result in results]
    assert words[0] == words[1]

"""Small models and helpers that the streaming tests share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asrlib.encoders import (
    AmortizedConfig,
    ConformerConfig,
    ContextNetConfig,
    ConvRnntConfig,
    LstmConfig,
    LstmStackConfig,
)
from asrlib.encoders.amortized import AmortizedSchedule
from asrlib.encoders.toggles import ArbitratorConfig
from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.streaming import DecodeConfig, Result, Stream, StreamingRecognizer
from asrlib.streaming.greedy import GreedyConfig, GreedySearch
from asrlib.text.tokenizer import Tokenizer, TokensConfig, train_tokenizer
from asrlib.transducer.model import Transducer, TransducerConfig
from asrlib.transducer.predictor import LstmPredictorConfig, StatelessConfig

ENCODERS = ("lstm", "conv_rnnt", "conformer", "contextnet", "amortized")
RATE = 16000
WORDS = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "RUBOUT", "ERASE", "GO", "THREE", "FIVE", "SEVEN", "NINE"]


def small_config(
    encoder: str, predictor: str, hidden: int, subsampling: int = 4
) -> TransducerConfig:
    common = {"subsampling": subsampling, "output_dim": hidden}
    stack = LstmStackConfig(layers=1, hidden_dim=hidden, dropout=0.0)
    encoder_config = {
        "lstm": lambda: LstmConfig(lstm=stack, **common),
        "conv_rnnt": lambda: ConvRnntConfig(
            dim=64,
            local_channels=(4,),
            local_kernel=3,
            global_blocks=2,
            dropout=0.0,
            lstm=stack,
            **common,
        ),
        "conformer": lambda: ConformerConfig(
            layers=2, dim=64, feedforward_dim=128, kernel=5, left_context=20, dropout=0.0, **common
        ),
        "amortized": lambda: AmortizedConfig(
            layers=2,
            dim=64,
            feedforward_dim=128,
            left_context=20,
            dropout=0.0,
            arbitrator=ArbitratorConfig(dim=16, keep=0.5),
            schedule=AmortizedSchedule(cost_start=0.3, span=0.3, final_temperature=0.1),
            **common,
        ),
        "contextnet": lambda: ContextNetConfig(channels=(96,) * 4, layers=2, dropout=0.0, **common),
    }[encoder]()
    if predictor == "lstm":
        predictor_config = LstmPredictorConfig(embedding_dim=16, hidden_dim=16, output_dim=32)
    else:
        predictor_config = StatelessConfig(context=2, output_dim=32)
    return TransducerConfig(encoder=encoder_config, predictor=predictor_config, joiner_dim=48)


def make_tokenizer(folder: Path) -> Tokenizer:
    path = folder / "bpe.model"
    train_tokenizer(WORDS * 20, TokensConfig(vocab_size=100), path)
    return Tokenizer.from_file(path)


def random_model(encoder: str, predictor: str, vocab_size: int, seed: int = 4) -> Transducer:
    return loud_model(small_config(encoder, predictor, 32), vocab_size, seed)


def loud_model(config: TransducerConfig, vocab_size: int, seed: int = 4) -> Transducer:
    """Random weights, loud, with blank as probable as makes it emit a token in five frames."""
    torch.manual_seed(seed)
    model = Transducer(config, 80, vocab_size).eval()
    x_TF = FbankExtractor(FbankConfig())(babble(6.0, seed=99))
    model.encoder.norm.set_stats(x_TF.mean(0), x_TF.std(0))
    bias_V = model.joiner.output_linear.bias
    search = GreedySearch(model, GreedyConfig(max_symbols_per_frame=1))
    with torch.no_grad():
        # What is heard counts more than what was emitted, so that no model babbles for ever.
        model.joiner.encoder_proj.weight.mul_(8.0)
        model.joiner.decoder_proj.weight.mul_(2.0)
        model.joiner.output_linear.weight.mul_(4.0)
        h_BSD, _ = model.encoder(x_TF[None], torch.tensor([len(x_TF)]))
        low, high = -20.0, 20.0
        for _ in range(10):
            bias_V[0] = (low + high) / 2
            state = search.initial_state()
            search.advance(h_BSD[:1], [state])
            if len(state.tokens) > h_BSD.shape[1] / 5:
                low = float(bias_V[0])
            else:
                high = float(bias_V[0])
    return model


def babble(seconds: float, seed: int = 0, rate: int = RATE) -> Tensor:
    """Bursts of coloured noise with pauses: changes its spectrum as speech does."""
    generator = np.random.default_rng(seed)
    n, step = round(seconds * rate), rate // 8
    pieces = []
    for _ in range(-(-n // step)):
        noise = generator.standard_normal(step) * generator.choice([0.001, 0.02, 0.1])
        taps = generator.standard_normal(8)
        pieces.append(np.convolve(noise, taps, mode="same"))
    return torch.from_numpy(np.concatenate([*pieces, np.zeros(0)])[:n].astype(np.float32))


def recognizer_of(
    model: Transducer, tokenizer: Tokenizer, search: str = "greedy", **values: object
) -> StreamingRecognizer:
    config = replace(DecodeConfig(search=search), **values)
    return StreamingRecognizer(model, tokenizer, FbankExtractor(FbankConfig()), config)


def transcribe(
    recognizer: StreamingRecognizer,
    samples: Tensor,
    sizes: Sequence[int] = (),
    rate: int = RATE,
) -> Result:
    """Feed pieces of `sizes`, the last repeated until the end; without sizes, the whole."""
    stream = recognizer.create_stream()
    for piece in pieces_of(samples, sizes):
        stream.accept(piece, rate)
        recognizer.step([stream])
    return finish(recognizer, stream)


def finish(recognizer: StreamingRecognizer, stream: Stream) -> Result:
    stream.finish()
    recognizer.step([stream])
    return recognizer.result(stream)


def pieces_of(samples: Tensor, sizes: Sequence[int]) -> Iterator[Tensor]:
    if not sizes:
        yield samples
        return
    start, i = 0, 0
    while start < len(samples):
        size = sizes[min(i, len(sizes) - 1)]
        yield samples[start : start + size]
        start, i = start + size, i + 1


def outcome(result: Result) -> tuple:
    """All that must be equal: tokens, their times, words, segments' ends."""
    ends = tuple(s.final_time for s in result.segments)
    return result.text, result.tokens, result.token_times, result.words, ends, result.final_time

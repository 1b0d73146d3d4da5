"""Models for the streaming tests: random ones, and ones that know six real utterances."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import soundfile
import torch
from streaming_fakes import ENCODERS, make_tokenizer, random_model, small_config
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asrlib.features.fbank import FbankConfig, FbankExtractor
from asrlib.layers.schedule import set_run_length
from asrlib.text.tokenizer import Tokenizer
from asrlib.transducer.model import Transducer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="session")
def random_models(tokenizer) -> dict[tuple[str, str], Transducer]:
    return {
        (encoder, predictor): random_model(encoder, predictor, tokenizer.vocab_size)
        for encoder in ENCODERS
        for predictor in ("stateless", "lstm")
    }


@dataclass(frozen=True)
class Speech:
    """Real utterances of 16 kHz."""

    samples: list[Tensor]
    texts: list[str]


def read_an4(folder: Path, count: int) -> Speech:
    """The first commands (letters, digits; never personal data) of AN4's test set."""
    samples, texts = [], []
    for line in (folder / "etc/an4_test.transcription").read_text().splitlines():
        text, name = re.fullmatch(r"(.*?)\s*\((\S+)\)", line).groups()
        if name.startswith("an") and len(samples) < count:
            path = folder / "wav/an4test_clstk" / name.split("-")[1] / f"{name}.flac"
            samples.append(torch.from_numpy(soundfile.read(path, dtype="float32")[0]))
            texts.append(text)
    return Speech(samples, texts)


@pytest.fixture(scope="session")
def speech(shared_data) -> Speech:
    return read_an4(shared_data / "an4", 6)


def overfit(
    encoder: str, speech: Speech, tokenizer: Tokenizer, steps: int, rate: float
) -> Transducer:
    """Train until the utterances are known by heart."""
    torch.manual_seed(1)
    fbank = FbankExtractor(FbankConfig())
    features = [fbank(s) for s in speech.samples]
    tokens = [torch.tensor(tokenizer.encode(text)) for text in speech.texts]
    config = small_config(encoder, "stateless", 96, subsampling=8)
    # One symbol a frame, which every search can follow.
    loss = replace(config.loss, warmup_steps=1, ctc_scale=2.0, rnnt_type="modified")
    config = replace(config, loss=loss)
    model = Transducer(config, 80, tokenizer.vocab_size)
    every = torch.cat(features)
    model.encoder.norm.set_stats(every.mean(0), every.std(0))
    set_run_length(model.encoder, steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    x_BTF, y_BU = (pad_sequence(items, batch_first=True) for items in (features, tokens))
    lengths = [torch.tensor([len(i) for i in items]) for items in (features, tokens)]
    for step in range(steps):
        loss = model.loss(x_BTF, lengths[0], y_BU, lengths[1], step).total_B.sum()
        optimizer.zero_grad()
        (loss / lengths[1].sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@pytest.fixture(scope="session")
def trained_models(speech, tokenizer) -> dict[str, Transducer]:
    return {
        "lstm": overfit("lstm", speech, tokenizer, steps=120, rate=1e-2),
        "conv_rnnt": overfit("conv_rnnt", speech, tokenizer, steps=280, rate=5e-3),
        "conformer": overfit("conformer", speech, tokenizer, steps=200, rate=3e-3),
        "amortized": overfit("amortized", speech, tokenizer, steps=200, rate=5e-3),
        "contextnet": overfit("contextnet", speech, tokenizer, steps=200, rate=5e-3),
    }

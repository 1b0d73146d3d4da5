"""A small transducer and synthetic utterances, for tests of what trains and loads it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml
from lhotse import CutSet, Features, MonoCut, NumpyFilesWriter, SupervisionSegment
from lhotse.supervision import AlignmentItem

from asrlib.config import to_dict
from asrlib.encoders import ConvRnntConfig, LstmConfig, LstmStackConfig
from asrlib.features.fbank import FbankConfig
from asrlib.text.tokenizer import Tokenizer, TokensConfig, train_tokenizer
from asrlib.transducer.loss import LossConfig
from asrlib.transducer.model import Transducer, TransducerConfig
from asrlib.transducer.predictor import StatelessConfig

NUM_BINS = 12
TEXTS = ["ONE TWO", "TWO", "THREE ONE", "ONE", "THREE TWO ONE", "TWO TWO"]
FBANK = FbankConfig(num_bins=NUM_BINS)
CONFIG = TransducerConfig(
    encoder=LstmConfig(output_dim=16, lstm=LstmStackConfig(layers=1, hidden_dim=16)),
    predictor=StatelessConfig(output_dim=16),
    joiner_dim=16,
    loss=LossConfig(warmup_steps=4, ctc_scale=0.2),
)
CONV = TransducerConfig(
    encoder=ConvRnntConfig(
        local_channels=(4, 4),
        global_blocks=2,
        lstm=LstmStackConfig(layers=1, hidden_dim=16),
        output_dim=16,
    ),
    predictor=CONFIG.predictor,
    joiner_dim=16,
)


@lru_cache
def tokenizer() -> Tokenizer:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "bpe.model"
        train_tokenizer(TEXTS, TokensConfig(vocab_size=16), path)
        return Tokenizer.from_file(path)


def transducer(config: TransducerConfig = CONFIG, seed: int = 0) -> Transducer:
    torch.manual_seed(seed)
    model = Transducer(config, NUM_BINS, tokenizer().vocab_size)
    model.encoder.norm.set_stats(torch.full((NUM_BINS,), 0.5), torch.full((NUM_BINS,), 2.0))
    return model


def write_set(directory: Path, count: int, seed: int) -> CutSet:
    """`count` utterances of random features that lean towards their text, stored in files.

    Every other one has word times. They are of three speakers, p0 to p2.
    """
    generator = torch.Generator().manual_seed(seed)
    with NumpyFilesWriter(directory / "storage") as writer:
        return CutSet.from_cuts(_cut(writer, f"s{seed}-u{i}", i, generator) for i in range(count))


def _cut(writer: NumpyFilesWriter, name: str, number: int, generator: torch.Generator) -> MonoCut:
    text, frames = TEXTS[number % len(TEXTS)], 60 + 7 * number
    letters_T = torch.tensor([float(ord(text[t * len(text) // frames])) for t in range(frames)])
    x_TF = torch.randn(frames, NUM_BINS, generator=generator) + letters_T[:, None] / 40
    features = Features(
        type="kaldifeat-fbank",
        num_frames=frames,
        num_features=NUM_BINS,
        frame_shift=0.01,
        sampling_rate=16000,
        start=0.0,
        duration=frames / 100,
        storage_type=writer.name,
        storage_path=str(writer.storage_path),
        storage_key=writer.write(name, x_TF.numpy()),
        recording_id=name,
        channels=0,
    )
    return MonoCut(
        name, 0.0, frames / 100, 0, [_supervision(name, text, frames / 100, number)], features
    )


def _supervision(name: str, text: str, duration: float, number: int) -> SupervisionSegment:
    words = text.split()
    each = duration / len(words)
    times = [AlignmentItem(word, each * k, each) for k, word in enumerate(words)]
    alignment = {"word": times} if number % 2 else None
    return SupervisionSegment(
        name, name, 0.0, duration, text=text, speaker=f"p{number % 3}", alignment=alignment
    )


def write_recipe(directory: Path) -> Path:
    """A recipe directory as stages 1 to 3 leave it, and configuration for a tiny model."""
    for name, count, seed in (("train", 12, 1), ("dev", 4, 2)):
        cuts = write_set(directory / "data" / "fbank" / name, count, seed)
        out = directory / "data" / name / "cuts_fbank.jsonl.gz"
        out.parent.mkdir(parents=True)
        cuts.to_file(out)
    stats = {"mean": [0.5] * NUM_BINS, "std": [2.0] * NUM_BINS, "frames": 1000}
    (directory / "data" / "fbank" / "cmvn.json").write_text(json.dumps(stats))
    (directory / "data" / "lang").mkdir()
    (directory / "data" / "lang" / "bpe.model").write_bytes(tokenizer().model_bytes)
    (directory / "conf" / "model").mkdir(parents=True)
    sections = {
        "model/tiny": to_dict(CONFIG),
        "features": {"num_bins": NUM_BINS},
        "data": {"max_frames": 400, "num_buckets": 2},
        "train": {"num_threads": 1, "num_workers": 0, "epochs": 2, "warmup_steps": 4},
    }
    for name, values in sections.items():
        (directory / "conf" / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return directory

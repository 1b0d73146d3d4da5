"""Transducers and speaker extractors trained by two ranks: the losses of one rank, to 1e-4."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_fakes import on_ranks
from small_transducer import CONFIG as LSTM
from small_transducer import CONV, FBANK, tokenizer, transducer, write_set
from speaker_fakes import CONFIG as ECAPA
from speaker_fakes import FBANK as SPEAKER_FBANK
from speaker_fakes import speaker_cuts, speaker_model
from torch import nn

from asrlib.data.augment import AugmentConfig
from asrlib.data.sampler import DataConfig
from asrlib.data.speaker_dataset import SpeakerCuts, SpeakerDataConfig
from asrlib.speakers.adversary import ReweightingConfig
from asrlib.speakers.model import SpeakerModelConfig
from asrlib.speakers.resnet import ResNetConfig
from asrlib.training.config import TrainConfig
from asrlib.training.item_weights import GroupDroConfig, GroupDroWeights, Weighted
from asrlib.training.ranks import ALONE, Ranks
from asrlib.training.speaker_task import SpeakerSource, SpeakerTask
from asrlib.training.task import Task
from asrlib.training.trainer import Trainer
from asrlib.training.transducer_task import TransducerData, TransducerTask
from asrlib.transducer.model import Transducer, TransducerConfig

STEPS = 20
TRAIN = TrainConfig(
    num_threads=1,
    num_workers=0,
    epochs=99,
    max_steps=STEPS,
    valid_interval=STEPS,
    warmup_steps=10,
    peak_lr=2e-4,
    # AdamW divides by its size a gradient that is nothing but rounding, as that of a bias before a
    # normalisation; this keeps it small, else rounding grows tenfold with every few steps.
    adam_eps=1e-2,
    average=1,
)
PLAIN = AugmentConfig(spec_probability=0.0, silence_probability=0.0)
RESNET = ResNetConfig(channels=4, se_reduction=2, attention_dim=4, embedding_dim=6)
WEIGHTS = ReweightingConfig(warmup_steps=3, regions=3, hidden_dim=4, lr=0.02, step_size=0.1)


def without_dropout(model: Transducer) -> Transducer:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def transducer_task(
    folder: Path, model: TransducerConfig, config: TrainConfig = TRAIN
) -> TransducerTask:
    source = TransducerData(
        train=write_set(folder / "train", 12, seed=1),
        dev=write_set(folder / "dev", 4, seed=2),
        noise=None,
        tokenizer=tokenizer(),
        fbank=FBANK,
        data=DataConfig(max_frames=600, num_buckets=2),
        augment=PLAIN,
    )
    return TransducerTask(without_dropout(transducer(model)), source, config)


def speaker_task(
    folder: Path, model: SpeakerModelConfig, config: TrainConfig = TRAIN
) -> SpeakerTask:
    train = SpeakerCuts.of(speaker_cuts(folder / "train", 7), True)
    dev = SpeakerCuts.of(speaker_cuts(folder / "dev", 3, prefix="dev"), True)
    data = SpeakerDataConfig(speakers=5, crop_seconds=0.4, per_epoch=6)
    source = SpeakerSource(train, dev, None, SPEAKER_FBANK, data, PLAIN)
    return SpeakerTask(speaker_model(7, model), source, config)


def weighted_task(folder: Path) -> Weighted:
    task = transducer_task(folder, LSTM)
    group_of = {cut.id: f"g{i % 3}" for i, (cut, _) in enumerate(task.training_items())}
    rule = GroupDroWeights(group_of, GroupDroConfig(groups="g", step_size=0.1), seed=1)
    return Weighted(task, rule)


def speaker(kind: str) -> SpeakerModelConfig:
    return dataclasses.replace(ECAPA, reweighting=dataclasses.replace(WEIGHTS, kind=kind))


TASKS: dict[str, Callable[[Path], Task[Any]]] = {
    "lstm": lambda folder: transducer_task(folder, LSTM),
    # Its batch renormalisation follows the number of steps, so the correction takes part.
    "conv_rnnt": lambda folder: transducer_task(folder, CONV),
    "group_dro": weighted_task,
    "ecapa": lambda folder: speaker_task(folder, ECAPA),
    "resnet": lambda folder: speaker_task(folder, dataclasses.replace(ECAPA, extractor=RESNET)),
    "regions": lambda folder: speaker_task(folder, speaker("group_dro")),
    "pairwise": lambda folder: speaker_task(folder, speaker("pairwise")),
}


def losses(folder: Path, name: str, ranks: Ranks) -> tuple[list[float], float]:
    """The loss of each step relative to its weight, and the dev loss at the end."""
    task = TASKS[name](folder / f"{ranks.rank}-of-{ranks.size}")
    trainer = Trainer(task, TRAIN, folder / f"run-{ranks.size}", {}, ranks=ranks)
    found, step = [], trainer.stepper.step

    def recorded(*arguments: Any) -> Any:
        report = step(*arguments)
        found.append(report.loss / report.sums.weight)
        return report

    trainer.stepper.step = recorded
    trainer.resume()
    trainer.run()
    return found, trainer.at.history[-1][1]


@pytest.mark.parametrize("name", TASKS)
def test_two_ranks_have_the_losses_of_one(tmp_path, name):
    alone, dev = losses(tmp_path, name, ALONE)
    assert len(alone) == STEPS
    assert abs(alone[0] - alone[-1]) > 1e-2
    for found, dev_found in on_ranks(2, partial(losses, tmp_path, name)):
        assert found == pytest.approx(alone, rel=1e-4)
        assert dev_found == pytest.approx(dev, rel=1e-3)


@pytest.mark.parametrize("name", ["lstm", "conv_rnnt"])
def test_bfloat16_trains_with_a_loss_in_float32(tmp_path, name):
    config = dataclasses.replace(TRAIN, precision="bfloat16", peak_lr=5e-3, adam_eps=1e-8)
    model = {"lstm": LSTM, "conv_rnnt": CONV}[name]
    task = transducer_task(tmp_path, model, config)
    seen = []
    loss = task.loss

    def recorded(*arguments: Any) -> Any:
        sums = loss(*arguments)
        seen.append((sums.per_item_B.dtype, float(sums.per_item_B.sum()) / sums.weight))
        return sums

    task.loss = recorded
    narrow = []
    task.model.joiner.register_forward_hook(lambda _, args, out: narrow.append(out.dtype))
    outcome = Trainer(task, config, tmp_path / "run", {}).run()
    assert outcome.step == STEPS
    assert {dtype for dtype, _ in seen} == {torch.float32}
    assert torch.bfloat16 in narrow
    assert all(p.dtype == torch.float32 for p in task.model.parameters())
    assert all(math.isfinite(value) for _, value in seen)
    assert seen[-1][1] < 0.9 * seen[0][1]


def test_float16_needs_a_gpu():
    with pytest.raises(ValueError, match="precision float16 needs device cuda"):
        TrainConfig(precision="float16")

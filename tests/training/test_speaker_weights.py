"""Reweighting of a speaker extractor in the trainer: the hard gain, and nothing else changes."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from planted_speakers import BATCHES, DIM, MINORITY, SPEAKERS, PlantedTask

from asrlib.checkpoint_file import load
from asrlib.errors import ConfigError
from asrlib.speakers.adversary import ReweightingConfig
from asrlib.speakers.losses import SpeakerLossConfig
from asrlib.training.checkpoint import CheckpointStore
from asrlib.training.config import TrainConfig
from asrlib.training.speaker_weights import SampleWeights
from asrlib.training.stepper import Stepper
from asrlib.training.trainer import Outcome, Trainer

CONFIG = TrainConfig(
    num_threads=1, epochs=4, warmup_steps=2, valid_interval=5, peak_lr=0.01, log_interval=1000
)
BASE = ReweightingConfig(
    warmup_steps=3, regions=4, hidden_dim=8, lr=0.02, step_size=0.1, utterances=3
)
WEIGHT = "linear.weight"
KINDS = ("accumulated", "pseudo_labels", "pairwise", "group_dro")


def train(
    directory: Path, config: ReweightingConfig, run: TrainConfig = CONFIG, **options
) -> tuple[PlantedTask, Outcome]:
    task = PlantedTask(config, **options)
    trainer = Trainer(task, run, directory, {})
    trainer.resume()
    return task, trainer.run()


@torch.no_grad()
def weights(task: PlantedTask) -> torch.Tensor:
    """The weights (speakers, utterances) of all speakers at the end."""
    embeddings = task.model.linear(task.utterances(123, 6))
    return task.weights.player.weights(embeddings, task.weights.regions.assign(embeddings))


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_weight_of_a_hard_minority_rises(tmp_path, kind):
    rising = []
    config = replace(BASE, kind=kind, lr=0.005, step_size=0.01, penalty=0.03)
    for epochs in (2, 20):
        run = replace(CONFIG, epochs=epochs, peak_lr=1e-3, schedule="constant")
        task, _ = train(tmp_path / str(epochs), config, run)
        found = weights(task)
        assert float(found.mean()) == pytest.approx(1.0, rel=1e-5)
        rising.append(float(found[:MINORITY].mean() / found[MINORITY:].mean()))
    assert 1.0 < rising[0] < rising[1]
    assert rising[1] > 1.08


@pytest.mark.parametrize("penalty", [0.0, 0.03])
def test_the_penalty_keeps_weights_from_a_few_samples(penalty):
    """Without it, a fast adversary gives nearly all of the weight to a few samples, for good."""
    task = PlantedTask(replace(BASE, kind="pairwise", penalty=penalty))
    stepper = Stepper(task, replace(CONFIG, peak_lr=1e-3, schedule="constant"))
    for epoch in range(8):
        for number, batch in enumerate(task.train_batches(epoch, 0)):
            stepper.step(batch, BATCHES * epoch + number, 1000)
    found = weights(task)
    assert (float(found.max()) > 5.0) == (penalty == 0.0)
    assert (float(found.max()) < 2.0) == (penalty > 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_steps_are_those_without_weights(tmp_path, kind):
    run = replace(CONFIG, max_steps=8)
    for name, config in (
        ("plain", ReweightingConfig()),
        ("warm", replace(BASE, kind=kind, warmup_steps=5)),
        ("early", replace(BASE, kind=kind, warmup_steps=1)),
    ):
        train(tmp_path / name, config, run)
    for step, equal in ((5, True), (8, False)):
        plain, warm, early = (
            load(tmp_path / name / "checkpoints" / f"step-{step:08d}.pt", "planted-training")
            for name in ("plain", "warm", "early")
        )
        assert torch.equal(plain["model"][WEIGHT], warm["model"][WEIGHT]) == equal, step
        assert not torch.equal(plain["model"][WEIGHT], early["model"][WEIGHT]), step


@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_struck_and_continued_equals_uninterrupted(tmp_path, kind, permuted):
    """Adversary, optimiser, regions and group weights are in the checkpoints, to the last bit."""
    config = replace(BASE, kind=kind, permuted=permuted)
    train(tmp_path / "whole", config)
    for name, step in (("KILL", 2), ("KILL", 9), ("TERM", 14), ("TERM", 17), ("KILL", 22)):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _, outcome = train(tmp_path / "pieces", config, strike=(name, step))
                code = 128 + outcome.signal if outcome.signal else 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == (-signal.SIGKILL if name == "KILL" else 128 + signal.SIGTERM)
    train(tmp_path / "pieces", config)
    paths = list(CheckpointStore(tmp_path / "whole" / "checkpoints", "planted").paths())
    for file in ("final.pt", *(f"checkpoints/{path.name}" for path in paths)):
        whole, pieces = tmp_path / "whole" / file, tmp_path / "pieces" / file
        assert whole.read_bytes() == pieces.read_bytes(), file


def learned(kind: str, permuted: bool = False, **options) -> PlantedTask:
    """A task whose adversary or group weights differ from the first ones."""
    task = PlantedTask(replace(BASE, kind=kind, permuted=permuted, warmup_steps=0), **options)
    room, task.room = task.room, 99
    stepper = Stepper(task, CONFIG)
    for epoch in range(3):
        for number, batch in enumerate(task.train_batches(epoch, 0)):
            stepper.step(batch, number, 100)
    task.room = room
    return task


@pytest.mark.parametrize("kind", ["accumulated", "pseudo_labels", "group_dro"])
def test_gradients_keep_the_scale_of_a_mean(kind):
    """Weights of mean 1 in the batch: the gradient is that of a weighted mean of the losses."""
    task = learned(kind)
    batch = task.of(torch.arange(12), seed=5)
    sums = task.loss(batch, 100)
    assert float(sums.weights_B.std()) > 0.01
    expected = torch.autograd.grad(
        (sums.weights_B / sums.weights_B.mean() * task.loss(batch, 0).per_item_B).mean(),
        task.model.linear.weight,
    )[0]
    stepper = Stepper(task, replace(CONFIG, clip_norm=1e9))
    stepper.step(batch, 100, 200)
    torch.testing.assert_close(task.model.linear.weight.grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_logged_losses_are_unweighted(kind):
    task = learned(kind)
    batch = task.of(torch.arange(12), seed=5)
    sums = task.loss(batch, 100)
    plain = PlantedTask(ReweightingConfig())
    plain.model.load_state_dict(task.model.state_dict())
    expected = plain.loss(batch, 100)
    assert torch.equal(sums.per_item_B, expected.per_item_B)
    assert sums.stats["aam"] == expected.stats["aam"]
    assert sums.stats["weight_min"][0] < 1.0 < sums.stats["weight_max"][0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_player_learns_from_the_losses_that_made_the_update(kind):
    """Speakers with NaN are dropped, and attempts that ran out of memory leave no trace."""
    for options in ({"poison": {"spk03": math.nan}}, {"room": 5}):
        task = learned(kind, **options)
        before = weights(task)
        report = Stepper(task, CONFIG).step(task.of(torch.arange(12), seed=5), 100, 200)
        heard = sum(len(embeddings) for embeddings, _ in report.sums.kept)
        if "room" in options:
            assert (len(report.sums.kept), heard) == (4, 12)
        else:
            assert report.bad_ids == ["spk03"]
            assert heard == 11
        after = weights(task)
        assert torch.isfinite(after).all()
        assert not torch.equal(before, after)


def test_permuted_weights_are_those_of_other_regions():
    plain, control = learned("pseudo_labels"), learned("pseudo_labels", permuted=True)
    control.load_state(plain.state())
    control.model.load_state_dict(plain.model.state_dict())
    batch = plain.of(torch.arange(SPEAKERS), seed=5)
    own, given = (task.loss(batch, 100).stats for task in (plain, control))
    assert own["weight_max"][0] > 1.05
    embeddings = plain.model.linear(batch.x_SUD)
    hard = plain.weights.regions.assign(embeddings)[0, 0]
    assert (plain.weights.regions.assign(embeddings)[:MINORITY] == hard).all()
    sums = [task.loss(batch, 100) for task in (plain, control)]
    assert float(sums[0].weights_B[:MINORITY].mean()) > float(sums[1].weights_B[:MINORITY].mean())
    assert given["weight_max"][0] > 1.0


def test_pairs_need_a_loss_of_pairs():
    loss = SpeakerLossConfig(prototypical=0.0).build(DIM, SPEAKERS)
    with pytest.raises(ConfigError, match=r"kind: pairwise, but model\.loss\.prototypical is 0"):
        SampleWeights(replace(BASE, kind="pairwise"), loss, DIM, seed=1)
    SampleWeights(replace(BASE, kind="accumulated"), loss, DIM, seed=1)


def test_regions_that_cannot_be_found_do_not_end_the_training(caplog):
    task = learned("group_dro")
    before = weights(task)
    task.weights.refresh(torch.full((SPEAKERS * 3, DIM), math.nan))
    assert "no embedding is finite" in caplog.text
    assert torch.equal(before, weights(task))

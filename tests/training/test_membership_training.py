"""Training with cohort memberships: what reaches the model, exact resume, the run's identity."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from breaks_off import BreaksOff
from click.testing import CliRunner
from small_transducer import CONFIG, FBANK, tokenizer, transducer, write_recipe, write_set

from asrlib.checkpoint_file import load
from asrlib.cli.train import command
from asrlib.data.augment import AugmentConfig
from asrlib.data.membership import Membership
from asrlib.data.sampler import DataConfig
from asrlib.encoders import AmortizedConfig
from asrlib.errors import CheckpointError, ConfigError, DataError
from asrlib.experiments.run_record import read_record
from asrlib.streaming.batch import decode_cuts
from asrlib.streaming.settings import DecodeConfig
from asrlib.training import dev_wer
from asrlib.training.config import TrainConfig
from asrlib.training.trainer import Trainer
from asrlib.training.transducer_task import TransducerData, TransducerTask
from asrlib.transducer.model import Transducer
from asrlib.transducer.model_io import load_transducer

COHORTS = {"p0": "top", "p1": "bottom", "p2": "middle"}
TRAIN = TrainConfig(num_threads=1, num_workers=0, epochs=2, warmup_steps=4, average=2)
ENCODERS = {
    "lstm": replace(CONFIG.encoder, condition=2),
    "amortized": AmortizedConfig(
        layers=2, dim=8, heads=2, feedforward_dim=12, output_dim=16, condition=2
    ),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> TransducerData:
    directory = tmp_path_factory.mktemp("sets")
    return TransducerData(
        train=write_set(directory / "train", 12, seed=1),
        dev=write_set(directory / "dev", 4, seed=2),
        noise=None,
        tokenizer=tokenizer(),
        fbank=FBANK,
        data=DataConfig(max_frames=400, num_buckets=2),
        augment=AugmentConfig(frame_masks=2, max_frame_width=10, max_feature_width=4),
        membership=Membership(COHORTS, Path("cohorts.jsonl"), unknown=0.3),
    )


def model(encoder: str = "lstm", seed: int = 0) -> Transducer:
    return transducer(replace(CONFIG, encoder=ENCODERS[encoder]), seed)


def test_batches_hold_the_memberships_of_their_utterances(source):
    task = TransducerTask(model(), source, TRAIN)
    cuts = {cut.id: cut for cut in [*source.train, *source.dev]}
    for epoch in (0, 1):
        for batch in task.train_batches(epoch, 0):
            own = [cuts[i] for i in batch.ids]
            assert torch.equal(batch.membership_BC, source.membership.drawn(own, 1, epoch))
    for batch in task.dev_batches():  # nothing is forgotten there
        own = [cuts[i] for i in batch.ids]
        assert torch.equal(batch.membership_BC, source.membership.of(own))
    untold = TransducerTask(transducer(), replace(source, membership=None), TRAIN)
    assert not any(batch.membership_BC.any() for batch in untold.train_batches(0, 0))


def test_memberships_change_nothing_else_in_a_batch(source):
    told = TransducerTask(model(), source, TRAIN).train_batches(0, 0)
    untold = TransducerTask(model(), replace(source, membership=None), TRAIN).train_batches(0, 0)
    for a, b in zip(told, untold, strict=True):
        assert a.ids == b.ids
        assert torch.equal(a.x_BTF, b.x_BTF)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_loss_is_that_of_the_membership(source, encoder):
    """A new projection changes nothing, learns, and from then on memberships count."""
    task = TransducerTask(model(encoder), source, TRAIN)
    task.model.eval()
    batch = next(b for b in task.train_batches(0, 0) if b.membership_BC.any())
    unknown = replace(batch, membership_BC=torch.zeros_like(batch.membership_BC))
    loss_B = task.loss(batch, 3).per_item_B
    assert torch.equal(loss_B, task.loss(unknown, 3).per_item_B)
    loss_B.sum().backward()
    projection_CF = task.model.encoder.condition_CF
    told_C = batch.membership_BC.any(dim=0)
    assert torch.equal(projection_CF.grad.any(dim=1), told_C)
    torch.nn.init.normal_(projection_CF)
    changed_B = task.loss(batch, 3).per_item_B != task.loss(unknown, 3).per_item_B
    assert torch.equal(changed_B, batch.membership_BC.any(dim=1))


def test_dropping_an_utterance_drops_its_membership(source):
    task = TransducerTask(model(), source, TRAIN)
    batch = next(b for b in task.train_batches(0, 0) if len(b.ids) >= 3)
    kept = task.drop(batch, [batch.ids[1]])
    expected_BC = torch.cat([batch.membership_BC[:1], batch.membership_BC[2:]])
    assert torch.equal(kept.membership_BC, expected_BC)


def test_dev_word_errors_are_those_of_the_true_memberships(source, monkeypatch):
    given = []

    def decode(recognizer, cuts, membership):
        given.append(membership)
        return decode_cuts(recognizer, [], membership)

    monkeypatch.setattr(dev_wer, "decode_cuts", decode)
    figures = dev_wer.dev_wer(source.dev, 2, tokenizer(), FBANK, DecodeConfig(), source.membership)
    figures(model())
    assert given == [source.membership]


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_off_and_resumed_equals_uninterrupted(source, tmp_path, workers):
    config = replace(TRAIN, num_workers=workers, valid_interval=2, average_of="last")
    Trainer(TransducerTask(model(), source, config), config, tmp_path / "whole", {}).run()
    for step, seed in ((3, 0), (5, 1), (-1, 2)):
        part = BreaksOff(model(seed=seed), source, config)
        part.step = step
        trainer = Trainer(part, config, tmp_path / "pieces", {})
        trainer.resume()
        with pytest.raises(KeyboardInterrupt) if step >= 0 else contextlib.nullcontext():
            trainer.run()
    whole, pieces = (tmp_path / d / "final.pt" for d in ("whole", "pieces"))
    assert whole.read_bytes() == pieces.read_bytes()
    assert load_transducer(whole).model.encoder.condition_CF.any(dim=1).all()


@pytest.fixture
def recipe(tmp_path) -> Path:
    directory = write_recipe(tmp_path / "egs")
    write_cohorts(directory / "exp/cohorts/geo", COHORTS)
    (directory / "conf/membership.yaml").write_text("cohorts: exp/cohorts/geo\n")
    return directory


def write_cohorts(directory: Path, cohorts: dict[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    rows = ({"speaker": s, "cohort": c, "method": "geo"} for s, c in cohorts.items())
    (directory / "cohorts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(recipe: Path, *options: str) -> None:
    """Train; errors for the user are raised as they are."""
    arguments = ["--recipe-dir", str(recipe), "--model", "tiny", *options]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    if result.exception:
        raise result.exception


TOLD = ("--set", "model.encoder.condition=2")


def test_the_run_says_which_cohorts_it_was_told(recipe):
    run(recipe, *TOLD)
    out = recipe / "exp/tiny"
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["membership"] == {"cohorts": "exp/cohorts/geo", "unknown": 0.1}
    record = read_record(out)
    assert set(record.data) == {"train", "dev", "lang/bpe.model", "cohorts.jsonl"}
    assert load_transducer(out / "final.pt").model.encoder.condition_CF.any()
    run(recipe, "--name", "untold")
    assert "membership" not in yaml.safe_load((recipe / "exp/untold/config.yaml").read_text())
    assert "cohorts.jsonl" not in read_record(recipe / "exp/untold").data


def test_a_run_is_the_same_wherever_the_cohorts_lie_but_not_with_others(recipe):
    run(recipe, *TOLD)
    out, elsewhere = recipe / "exp/tiny", recipe / "exp/cohorts/moved"
    identity, content = read_record(out).identity, (out / "final.pt").read_bytes()
    shutil.move(recipe / "exp/cohorts/geo", elsewhere)
    moved = ("--set", "membership.cohorts=exp/cohorts/moved")
    run(recipe, *TOLD, *moved)
    assert read_record(out).identity == identity
    assert load(out / "final.pt", "transducer")["facts"]["steps"] > 0
    assert (out / "final.pt").read_bytes() == content
    write_cohorts(elsewhere, {**COHORTS, "p2": "top"})
    with pytest.raises(CheckpointError, match=r"cohorts\.jsonl"):
        run(recipe, *TOLD, *moved)
    run(recipe, *TOLD, *moved, "--force")
    assert read_record(out).identity != identity
    assert (out / "final.pt").read_bytes() != content
    with pytest.raises(CheckpointError, match="unknown"):
        run(recipe, *TOLD, *moved, "--set", "membership.unknown=0.2")


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (["membership.cohorts="], ConfigError, "membership.cohorts names no directory"),
        (["membership.cohorts=exp/cohorts/none"], DataError, "none/cohorts.jsonl: missing"),
        (["model.encoder.condition=3"], ConfigError, "a membership has 2 values"),
        (["membership.unknown=1.5"], ConfigError, "unknown"),
    ],
)
def test_settings_that_do_not_fit_are_explained(recipe, options, kind, words):
    sets = [word for option in options for word in ("--set", option)]
    with pytest.raises(kind) as caught:
        run(recipe, *TOLD, *sets)
    assert words in caught.value.what
    assert caught.value.fix
    assert not (recipe / "exp/tiny/final.pt").exists()


@pytest.mark.parametrize(
    ("cohorts", "words"),
    [
        ({"x": "top", "y": "bottom"}, "in the cohort top"),
        ({"p0": "top", "p1": "middle", "y": "bottom"}, "in the cohort bottom"),
    ],
)
def test_cohorts_without_training_data_are_refused(recipe, cohorts, words):
    write_cohorts(recipe / "exp/cohorts/geo", cohorts)
    with pytest.raises(DataError, match=words):
        run(recipe, *TOLD)


def test_a_model_of_several_talkers_has_no_cohort(recipe):
    encoder = {"name": "separator", "channels": 2, "condition": 2, "output_dim": 16}
    values = yaml.safe_load((recipe / "conf/model/tiny.yaml").read_text())
    values |= {"encoder": encoder}
    (recipe / "conf/model/tiny.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="talkers of a mixture may be of different cohorts"):
        run(recipe)


def test_a_membership_model_goes_on_from_one_without(recipe):
    run(recipe)
    run(recipe, *TOLD, "--name", "told", "--init", str(recipe / "exp/tiny"))
    assert load_transducer(recipe / "exp/told/final.pt").model.encoder.condition_CF.any()
    assert read_record(recipe / "exp/told").start == read_record(recipe / "exp/tiny").identity

"""The trainer on a small real task: what it drops, keeps, averages, refuses."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tiny_task import BATCHES, TinyTask, train

from asrlib.checkpoint_file import load
from asrlib.config import to_dict
from asrlib.data.share import WHOLE
from asrlib.errors import CheckpointError, DataError, UserError
from asrlib.training.checkpoint import CheckpointStore, average
from asrlib.training.config import TrainConfig
from asrlib.training.optim import average_states
from asrlib.training.stepper import Stepper
from asrlib.training.trainer import Trainer, differences

BASE = {"num_threads": 1, "warmup_steps": 2, "epochs": 2, "log_interval": 4}


def config(**values) -> TrainConfig:
    return TrainConfig(**(BASE | values))


def trainer(directory, settings, **options) -> Trainer:
    task = TinyTask(**options)
    return Trainer(task, settings, directory, {"train": to_dict(settings)})


def final_weights(directory) -> dict:
    return load(directory / "final.pt", "tiny")["model"]


def test_learns_and_leaves_a_self_contained_model(tmp_path):
    untrained = TinyTask().evaluate()["loss"]
    outcome = train(tmp_path, config(epochs=12, peak_lr=0.02, average=1))
    content = load(outcome.final, "tiny")
    assert outcome.step == 12 * BATCHES
    assert content["facts"]["dev"]["loss"] < 0.7 * untrained
    assert content["payload"]["vocabulary"] == b"\x00abc"
    assert content["facts"]["steps"] == outcome.step
    assert "optimizer" not in content
    assert list((tmp_path / "tensorboard").iterdir())


def test_every_batch_of_every_epoch_is_seen_once(tmp_path):
    run = trainer(tmp_path, config(epochs=3))
    run.run()
    assert run.task.seen == [(e, b) for e in range(3) for b in range(BATCHES)]


@pytest.mark.parametrize(("bounds", "steps"), [({"max_steps": 5}, 5), ({"max_steps": 99}, 16)])
def test_ends_at_whichever_bound_comes_first(tmp_path, bounds, steps):
    run = trainer(tmp_path, config(**bounds))
    outcome = run.run()
    assert outcome.step == run.task.total_steps == steps
    assert load(outcome.final, "tiny")["facts"]["history"][-1][0] == steps


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("average_of", ["best", "last"])
def test_keeps_last_and_best_and_averages_them(tmp_path, average_of, ema_decay):
    settings = config(
        epochs=4,
        valid_interval=4,
        keep_last=3,
        keep_best=2,
        average=2,
        average_of=average_of,
        ema_decay=ema_decay,
    )
    train(tmp_path, settings)
    facts = load(tmp_path / "final.pt", "tiny")["facts"]
    history = facts["history"]
    assert [step for step, _ in history] == list(range(4, 33, 4))
    best = [step for step, _ in sorted(history, key=lambda v: v[1])][:2]
    last = [step for step, _ in history][-3:]
    store = CheckpointStore(tmp_path / "checkpoints", "tiny")
    expected = {store.best_path(s) for s in best} | {store.step_path(s) for s in last}
    assert set(store.paths()) == expected
    assert set(facts["averaged"]) == set(best if average_of == "best" else last[-2:])
    if average_of == "best":
        mean, _ = average({s: store.best_path(s) for s in best}, "tiny")
    else:
        mean, _ = average({s: store.step_path(s) for s in last[-2:]}, store.step_kind)
    for name, value in final_weights(tmp_path).items():
        assert torch.equal(value, mean[name]), name


def test_best_checkpoint_has_the_dev_loss_it_is_ranked_by(tmp_path):
    train(tmp_path, config(epochs=4, ema_decay=0.5))
    history = dict(load(tmp_path / "final.pt", "tiny")["facts"]["history"])
    store = CheckpointStore(tmp_path / "checkpoints", "tiny")
    step = min(history, key=history.get)
    task = TinyTask()
    task.model.load_state_dict(load(store.best_path(step), "tiny")["model"])
    assert task.evaluate()["loss"] == history[step]


def test_non_finite_item_is_dropped_as_if_it_were_not_there(tmp_path, caplog):
    """Poisoned input, and the same item absent: gradients and statistics must agree."""

    class Without(TinyTask):
        def train_batches(self, epoch, start_batch, share=WHOLE):
            for batch in super().train_batches(epoch, start_batch, share):
                yield self.drop(batch, ["0-3-2"])

    settings = config(epochs=1)
    train(tmp_path / "poisoned", settings, poison={"0-3-2": math.nan})
    other = Trainer(Without(), settings, tmp_path / "without", {})
    other.run()
    assert "step 3: loss is not finite, dropped: 0-3-2" in caplog.text
    without = final_weights(tmp_path / "without")
    for name, value in final_weights(tmp_path / "poisoned").items():
        assert torch.equal(value, without[name]), name
        assert torch.isfinite(value).all()


def test_wholly_non_finite_batch_leaves_no_trace_but_a_step(tmp_path, caplog):
    poison = {f"0-2-{i}": math.inf for i in range(4)}
    run = trainer(tmp_path, config(epochs=1), poison=poison)
    run.run()
    assert run.at.bad_steps == 1
    assert run.at.step == BATCHES
    assert all(torch.isfinite(v).all() for v in final_weights(tmp_path).values())


def test_non_finite_gradient_skips_the_step(tmp_path, caplog):
    class Steep(TinyTask):
        """In one step the loss is finite, but has the infinite slope of a root at zero."""

        def loss(self, batch, step):
            sums = super().loss(batch, step)
            if step != 2:
                return sums
            root = (self.model[0].weight.sum() * 0.0).sqrt()
            return dataclasses.replace(sums, per_item_B=sums.per_item_B + root)

    run = Trainer(Steep(), config(max_steps=3), tmp_path, {})
    run.run()
    assert run.at.bad_steps == 1
    assert "step 2: gradient norm is nan" in caplog.text
    assert all(torch.isfinite(v).all() for v in final_weights(tmp_path).values())


def test_budget_of_bad_steps(tmp_path):
    poison = {f"0-{b}-0": math.nan for b in range(BATCHES)}
    with pytest.raises(DataError, match="bad_batch_budget = 3; last: 0-3-0") as e:
        train(tmp_path, config(bad_batch_budget=3), poison=poison)
    assert e.value.fix


def test_other_configuration_is_not_continued(tmp_path):
    train(tmp_path, config(epochs=1, peak_lr=1e-3))
    with pytest.raises(CheckpointError, match=r"train\.peak_lr: 0\.001, now 0\.002") as e:
        trainer(tmp_path, config(epochs=1, peak_lr=2e-3)).resume()
    assert "--name" in e.value.fix
    assert "--force" in e.value.fix


def test_a_checkpoint_of_another_build_of_the_model_is_not_continued(tmp_path):
    train(tmp_path, config(epochs=1))
    other = trainer(tmp_path, config(epochs=1))
    other.task.model.add_module("more", torch.nn.Linear(1, 1))
    with pytest.raises(CheckpointError, match=r"step-\d+\.pt: does not fit the model .*more"):
        other.resume()


def test_a_finished_run_continued_changes_nothing(tmp_path):
    train(tmp_path, config())
    before = (tmp_path / "final.pt").read_bytes()
    again = trainer(tmp_path, config())
    again.resume()
    again.run()
    assert again.task.seen == []
    assert (tmp_path / "final.pt").read_bytes() == before


def test_no_batches_is_an_error(tmp_path):
    class Empty(TinyTask):
        def train_batches(self, epoch, start_batch, share=WHOLE):
            return iter(())

    with pytest.raises(DataError, match="gives no batches"):
        Trainer(Empty(), config(), tmp_path, {}).run()


def test_unknown_dev_figure_is_an_error_that_lists_the_known(tmp_path):
    with pytest.raises(UserError, match=r"best_by: wer.*\n.*choose one of loss"):
        train(tmp_path, config(max_steps=1, best_by="wer"))


def test_what_is_averaged_must_be_kept():
    with pytest.raises(ValueError, match="must be kept"):
        TrainConfig(average=5, keep_best=2)


def test_differences_name_the_key():
    old = {"train": {"lr": 1, "seed": 1}, "model": {"dim": 4}}
    new = {"train": {"lr": 2, "seed": 1}, "model": {"dim": 4, "new": True}}
    assert differences(old, new) == ["train.lr: 1, now 2", "model.new: None, now True"]
    assert differences(old, old) == []


def test_a_window_ends_in_the_mean_of_its_updates_and_changes_no_training(tmp_path, monkeypatch):
    held = []
    original = Stepper.step

    def step(self, *arguments):
        report = original(self, *arguments)
        held.append({k: v.clone() for k, v in self.model.state_dict().items()})
        return report

    monkeypatch.setattr(Stepper, "step", step)
    train(tmp_path / "window", config(epochs=3, average_window=5))
    expected = average_states(held[-5:])
    for name, value in final_weights(tmp_path / "window").items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)
    steps, last = len(held), held[-1]
    train(tmp_path / "plain", config(epochs=3))
    assert len(held) == 2 * steps
    assert all(torch.equal(value, last[name]) for name, value in held[-1].items())

"""Per-item weights: one rule for every task, groups with high losses get high weights."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_task import BATCH_SIZE, BATCHES, Points, TinyTask
from torch import Tensor, nn

from asrlib.errors import DataError
from asrlib.training.checkpoint import CheckpointStore
from asrlib.training.config import TrainConfig
from asrlib.training.item_weights import (
    GroupDro,
    GroupDroConfig,
    GroupDroWeights,
    Weighted,
    permuted_over_groups,
)
from asrlib.training.stepper import Stepper, StepReport
from asrlib.training.task import LossSums
from asrlib.training.trainer import Outcome, Trainer

EPOCHS = 3
CONFIG = TrainConfig(num_threads=1, warmup_steps=0, epochs=EPOCHS, clip_norm=1e9)
TOO_MUCH = 1 << 60  # bytes


class Linear(TinyTask):
    """No dropout and no statistics over the batch, and memory for `room` items."""

    def __init__(self, room: int = 99, poison: dict[str, float] | None = None) -> None:
        torch.manual_seed(0)
        super().__init__(poison=poison, model=nn.Sequential(nn.Linear(5, 3)))
        self.room = room

    def loss(self, batch: Points, step: int) -> LossSums:
        if len(batch.ids) > self.room:
            torch.empty(TOO_MUCH, dtype=torch.uint8)
        return super().loss(batch, step)


class Given:
    """Weights by name, which never change."""

    def __init__(self, weight_of: dict[str, float], mean_one: bool = True) -> None:
        self.weight_of, self.mean_one = weight_of, mean_one

    def weights(self, ids) -> Tensor:
        return torch.tensor([self.weight_of[item] for item in ids])

    def stats(self, ids, weights_B) -> dict[str, tuple[float, float]]:
        return {}

    def after_update(self, sums: LossSums) -> None:
        pass

    def state(self) -> dict:
        return {}

    def load_state(self, state) -> None:
        pass


def points(size: int) -> Points:
    generator = torch.Generator().manual_seed(size)
    ids = [f"item-{i}" for i in range(size)]
    return Points(torch.randn(size, 5, generator=generator), torch.arange(size) % 3, ids)


def step_of(task, batch: Points) -> tuple[StepReport, list[Tensor]]:
    """The report of a step, and its gradients."""
    report = Stepper(task, CONFIG).step(batch, 0, 10)
    return report, [p.grad.clone() for p in task.model.parameters()]


def gradients_by_loop(batch: Points, weight_of: dict[str, float]) -> list[Tensor]:
    """The weighted mean of the gradients of single items, with weights of mean 1."""
    model = Linear().model
    total = [torch.zeros_like(p) for p in model.parameters()]
    mean = sum(weight_of[item] for item in batch.ids) / len(batch.ids)
    for x_F, y, item in zip(batch.x_BF, batch.y_B, batch.ids, strict=True):
        loss = nn.functional.cross_entropy(model(x_F[None]), y[None])
        for sum_, grad in zip(total, torch.autograd.grad(loss, model.parameters()), strict=True):
            sum_ += grad * weight_of[item] / mean / len(batch.ids)
    return total


WEIGHTS = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=9)


@settings(deadline=None, max_examples=25)
@given(values=WEIGHTS, room=st.integers(1, 9))
def test_the_gradient_is_the_weighted_mean_even_in_parts(values, room):
    batch = points(len(values))
    weight_of = dict(zip(batch.ids, values, strict=True))
    report, found = step_of(Weighted(Linear(room), Given(weight_of)), batch)
    plain, _ = step_of(Linear(), batch)
    assert report.sums.ids == batch.ids
    assert report.loss == pytest.approx(plain.loss, rel=1e-5)  # what is logged is unweighted
    assert report.sums.stats == plain.sums.stats
    for one, other in zip(found, gradients_by_loop(batch, weight_of), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_equal_weights_of_any_size_make_the_step_without_weights():
    batch = points(7)
    _, plain = step_of(Linear(), batch)
    _, weighted = step_of(Weighted(Linear(), Given(dict.fromkeys(batch.ids, 64.0))), batch)
    for one, other in zip(plain, weighted, strict=True):
        assert torch.equal(one, other)


def test_the_mean_is_that_of_the_items_which_remain():
    """The weight of an item without a finite loss must not scale the gradient of the others."""
    batch = points(5)
    batch.x_BF[2] = math.nan
    weight_of = dict(zip(batch.ids, [1.0, 2.0, 500.0, 0.5, 3.0], strict=True))
    for room in (1, 99):
        report, found = step_of(Weighted(Linear(room), Given(weight_of)), batch)
        assert report.bad_ids == ["item-2"]
        kept = Linear().drop(batch, ["item-2"])
        for one, other in zip(found, gradients_by_loop(kept, weight_of), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_weights_that_are_not_divided_scale_the_gradient():
    batch = points(4)
    rule = Given(dict.fromkeys(batch.ids, 3.0), mean_one=False)
    report, _ = step_of(Weighted(Linear(), rule), batch)
    plain, _ = step_of(Linear(), batch)
    assert report.norm == pytest.approx(3.0 * plain.norm, rel=1e-5)
    assert report.loss == plain.loss


def test_a_loss_may_hold_its_weights_inside():
    """A task's own objective takes the place of the weighted sum, also in parts."""

    class Inside(Linear):
        def loss(self, batch: Points, step: int) -> LossSums:
            sums = super().loss(batch, step)
            return replace(sums, objective=2.0 * sums.per_item_B.sum(), kept=(len(batch.ids),))

    plain, _ = step_of(Linear(), points(5))
    for room, kept in ((99, (5,)), (3, (3, 2))):
        report, _ = step_of(Inside(room), points(5))
        assert report.norm == pytest.approx(2.0 * plain.norm, rel=1e-5)
        assert report.sums.kept == kept
        assert report.sums.objective is None


# ---- group DRO


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_group_dro_against_an_explicit_loop(smoothing):
    shares = [0.5, 0.25, 0.125, 0.125]
    dro = GroupDro(torch.tensor(shares), 0.3, smoothing)
    q = [0.25] * 4
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        groups = torch.randint(0, 3, (6,), generator=generator)  # group 3 never occurs
        losses = 4.0 * torch.rand(6, generator=generator)
        sizes = torch.randint(1, 9, (6,), generator=generator)
        dro.update(groups, losses, sizes)
        means = {}
        for g in set(groups.tolist()):
            of = [i for i in range(6) if groups[i] == g]
            means[g] = sum(float(losses[i]) for i in of) / sum(int(sizes[i]) for i in of)
        for g in range(4):
            loss = means.get(g, sum(means.values()) / len(means))
            q[g] *= math.exp(0.3 * loss / (q[g] + smoothing if smoothing else 1.0))
        q = [value / sum(q) for value in q]
    weights = dro.group_weights(torch.arange(4)).tolist()
    assert weights == pytest.approx([a / b for a, b in zip(q, shares, strict=True)], rel=1e-5)


def test_a_rare_group_does_not_sink_because_it_is_rare():
    """Its loss is that of the others; it is in one batch of ten."""
    dro = GroupDro(torch.tensor([0.6, 0.36, 0.04]), 0.01)
    for step in range(500):
        groups = torch.tensor([0, 0, 1, 1, 2 if step % 10 == 0 else 1])
        dro.update(groups, torch.full((5,), 8.0))
    assert dro.log_q_G.exp().tolist() == pytest.approx([1 / 3] * 3)


def test_expected_weight_of_a_training_item_is_one():
    shares = torch.tensor([0.9, 0.09, 0.01])
    dro = GroupDro(shares, 0.5)
    for _ in range(10):
        dro.update(torch.tensor([0, 1, 2]), torch.tensor([0.1, 0.5, 1.0]))
        assert float((shares * dro.group_weights(torch.arange(3))).sum()) == pytest.approx(1.0)


def test_losses_of_any_size_leave_finite_positive_weights():
    dro = GroupDro(torch.tensor([0.5, 0.5, 0.0]), 1.0)
    for loss in (1e6, 1e-6, 1e6):
        dro.update(torch.tensor([0, 1]), torch.tensor([loss, 0.0]))
    weights = dro.group_weights(torch.arange(3))
    assert torch.isfinite(weights).all()
    assert (weights > 0).all()
    assert weights[0] > weights[1]


def rule(config: GroupDroConfig, seed: int = 1) -> GroupDroWeights:
    """One item of each batch is in group `rare`, the others in two groups more."""
    names = ("rare", "a", "b", "b")
    group_of = {
        f"{epoch}-{batch}-{i}": names[i]
        for epoch in range(EPOCHS)
        for batch in range(BATCHES)
        for i in range(BATCH_SIZE)
    }
    return GroupDroWeights({"alone-0": "alone", **group_of}, config, seed)


def test_hard_groups_gain_and_a_group_of_one_member_does_not_harm():
    dro = rule(GroupDroConfig(groups="any", step_size=0.5))
    ids = ["0-0-0", "0-0-1", "0-0-2", "0-0-3"]
    for _ in range(20):
        dro.after_update(LossSums(torch.tensor([2.0, 0.1, 0.1, 0.1]), ids, 4))
    weights = dro.weights([*ids, "alone-0"])
    assert weights[0] > weights[1] > 0
    assert weights[2] == weights[3]
    assert torch.isfinite(weights).all()
    stats = dro.stats(ids, weights[:4])
    assert stats["weight_b"] == (pytest.approx(2 * float(weights[2])), 2.0)
    assert "weight_alone" not in stats


def test_permuted_groups_exchange_their_weights():
    config = GroupDroConfig(groups="any", step_size=0.5)
    ids = ["0-0-0", "0-0-1", "0-0-2", "0-0-3"]
    sums = LossSums(torch.tensor([2.0, 0.5, 0.1, 0.1]), ids, 4)
    plain, control = rule(config), rule(replace(config, permuted=True))
    for each in (plain, control):
        for _ in range(5):
            each.after_update(sums)
    own, given = plain.weights(ids), control.weights(ids)
    assert given[2] == given[3]
    assert sorted({*own.tolist()}) == sorted({*given.tolist()})
    assert all(a != b for a, b in zip(own.tolist(), given.tolist(), strict=True))


@given(groups=st.lists(st.integers(0, 4), min_size=1, max_size=12), order=st.permutations(range(5)))
def test_a_permutation_moves_the_weights_of_each_group_to_another(groups, order):
    groups_B = torch.tensor(groups)
    weights_B = 1.0 + groups_B.float()
    given_B = permuted_over_groups(weights_B, groups_B, order)
    received = {g: float(w) for g, w in zip(groups, given_B, strict=True)}
    assert sorted(received.values()) == sorted(1.0 + g for g in set(groups))
    if len(set(groups)) > 1:
        assert all(value != 1.0 + g for g, value in received.items())


def test_permuted_weights_differ_within_a_group_as_much_as_before():
    groups_B = torch.tensor([0, 1, 0, 1, 0, 1])
    weights_B = torch.tensor([0.5, 1.0, 0.6, 1.1, 2.0, 0.8])
    assert permuted_over_groups(weights_B, groups_B, [1, 0]).tolist() == pytest.approx(
        [1.0, 0.5, 1.1, 0.6, 0.8, 2.0]
    )
    larger_B = torch.tensor([0, 0, 0, 1])
    given_B = permuted_over_groups(torch.tensor([3.0, 4.0, 5.0, 9.0]), larger_B, [0, 1])
    assert given_B.tolist() == [9.0, 9.0, 9.0, 3.0]


def test_an_item_without_a_group_is_named():
    with pytest.raises(DataError, match="training item new-1"):
        rule(GroupDroConfig(groups="any")).weights(["0-0-0", "new-1"])
    with pytest.raises(DataError, match="no training items"):
        GroupDroWeights({}, GroupDroConfig(groups="any"), 1)


# ---- killed and resumed

RESUMED = TrainConfig(
    num_threads=1, epochs=EPOCHS, warmup_steps=4, valid_interval=5, log_interval=1000
)


def train(directory: Path, config: GroupDroConfig, strike: tuple[str, int] | None) -> Outcome:
    task = Weighted(TinyTask(strike=strike), rule(config))
    trainer = Trainer(task, RESUMED, directory, {})
    trainer.resume()
    return trainer.run()


@pytest.mark.parametrize("permuted", [False, True])
def test_struck_and_continued_equals_uninterrupted(tmp_path, permuted):
    config = GroupDroConfig(groups="any", step_size=0.2, smoothing=0.1, permuted=permuted)
    train(tmp_path / "whole", config, None)
    for name, step in (("KILL", 7), ("TERM", 12), ("KILL", 13)):
        pid = os.fork()
        if pid == 0:
            try:
                outcome = train(tmp_path / "pieces", config, (name, step))
                os._exit(128 + outcome.signal if outcome.signal else 0)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == (-signal.SIGKILL if name == "KILL" else 128 + signal.SIGTERM)
    train(tmp_path / "pieces", config, None)
    paths = list(CheckpointStore(tmp_path / "whole" / "checkpoints", "tiny").paths())
    for file in ("final.pt", *(f"checkpoints/{path.name}" for path in paths)):
        whole, pieces = tmp_path / "whole" / file, tmp_path / "pieces" / file
        assert whole.read_bytes() == pieces.read_bytes(), file


def test_weights_change_the_training(tmp_path):
    """A rule that nothing reads would pass the test above."""
    finals = []
    for name, step_size in (("weak", 1e-6), ("strong", 0.5)):
        train(tmp_path / name, GroupDroConfig(groups="any", step_size=step_size), None)
        finals.append((tmp_path / name / "final.pt").read_bytes())
    assert finals[0] != finals[1]


def test_a_repeated_item_has_the_group_of_its_original_and_counts_as_often():
    group_of = {"a": "x", "b": "y", "c_repeat0": "y"}
    times = {"a": 1.0, "b": 2.5, "c_repeat0": 0.5}
    rule = GroupDroWeights(group_of, GroupDroConfig(), seed=1, amounts=times)
    assert rule.dro.shares_G.tolist() == pytest.approx([1 / 4, 3 / 4])
    same = [("a", "a_repeat0"), ("b", "b_repeat12"), ("c_repeat0", "c_repeat0_repeat1")]
    for original, copy in same:
        assert rule.weights([original]).equal(rule.weights([copy]))
    with pytest.raises(DataError, match="item d is not known"):
        rule.weights(["a", "d_repeat0"])

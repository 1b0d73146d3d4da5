"""The adversary: ARL's weights, weights of pairs, ascent, and no path from it to the learner."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from asrlib.speakers.adversary import (
    VARIANTS,
    Opponent,
    arl_weights,
    pair_weights,
    speaker_weights,
    weighted_loss,
)
from asrlib.speakers.losses import SpeakerLoss, SpeakerLossConfig

SPEAKERS, CROPS, DIM, REGIONS, CLASSES = 5, 3, 6, 4, 7
LOSSES = {
    "prototypical": SpeakerLossConfig(prototypical=1.5, aam=0.0),
    "both": SpeakerLossConfig(prototypical=1.5, softmax=0.5, aam=0.7, aam_scale=5.0),
}
SCORES = st.lists(st.floats(-60.0, 60.0), min_size=1, max_size=12)


@given(scores=SCORES)
def test_arl_normalisation(scores):
    sigmoids = [1.0 / (1.0 + math.exp(-f)) for f in scores]
    mean = max(sum(sigmoids) / len(sigmoids), 1e-4)
    arl = [1.0 + value / mean for value in sigmoids]
    expected = [weight / (sum(arl) / len(arl)) for weight in arl]
    weights = arl_weights(torch.tensor(scores, dtype=torch.float64))
    assert weights.tolist() == pytest.approx(expected, rel=1e-9)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert float(weights.min()) > 0.5 - 1e-9


def test_weights_are_bounded_when_one_sample_takes_all():
    weights = arl_weights(torch.tensor([50.0, -50.0, -50.0, -50.0]))
    assert weights.tolist() == pytest.approx([2.5, 0.5, 0.5, 0.5])


def test_the_weight_of_a_pair_is_the_sum_of_its_samples():
    generator = torch.Generator().manual_seed(0)
    weights = 0.5 + torch.rand(SPEAKERS, 2, generator=generator)
    pairs = 2.0 * pair_weights(weights)
    for query in range(SPEAKERS):
        for prototype in range(SPEAKERS):
            total = weights[query, 1] + weights[prototype, 0]
            assert pairs[query, prototype] == pytest.approx(float(total))


def test_a_prototype_of_several_samples_has_their_mean_weight():
    weights = torch.tensor([[1.0, 3.0, 7.0], [2.0, 4.0, 9.0]])
    assert pair_weights(weights).tolist() == [[4.5, 5.0], [5.5, 6.0]]
    assert speaker_weights(weights).tolist() == pytest.approx([11 / 3, 5.0])


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings, classes and regions."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(SPEAKERS, CROPS, DIM, generator=generator)
    embeddings += 2.0 * torch.randn(SPEAKERS, 1, DIM, generator=generator)
    regions = torch.randint(0, REGIONS, (SPEAKERS, CROPS), generator=generator)
    return embeddings, torch.arange(SPEAKERS) + 1, regions


def build_loss(name: str) -> SpeakerLoss:
    torch.manual_seed(1)
    return LOSSES[name].build(DIM, CLASSES)


def opponent(variant: str, hidden_dim: int = 8, lr: float = 0.05) -> Opponent:
    return Opponent(variant, DIM, REGIONS, hidden_dim=hidden_dim, lr=lr, seed=2)


@pytest.mark.parametrize("name", LOSSES)
def test_weighted_losses_against_explicit_loops(name):
    loss = build_loss(name)
    embeddings, classes, _ = batch()
    weights = 0.5 + torch.rand(SPEAKERS, CROPS, generator=torch.Generator().manual_seed(4))
    parts = loss(embeddings, classes)
    similarities = loss.prototypical.similarities(embeddings).tolist()
    rows = pairs = 0.0
    for i in range(SPEAKERS):
        own = float(weights[i].mean())
        rows += own * float(parts["total"][i])
        inside = 1.0
        for j in range(SPEAKERS):
            if j != i:
                pair = (float(weights[i, -1]) + float(weights[j, :-1].mean())) / 2.0
                inside += pair * math.exp(similarities[i][j] - similarities[i][i])
        classified = float(parts["total"][i] - parts["prototypical"][i])
        pairs += 1.5 * math.log(inside) + own * classified
    found = weighted_loss(loss, embeddings, parts, weights, pairs=False)
    assert float(found) == pytest.approx(rows, rel=1e-5)
    found = weighted_loss(loss, embeddings, parts, weights, pairs=True)
    assert float(found) == pytest.approx(pairs, rel=1e-5)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_weights_of_one_give_the_loss_without_weights(name, pairs):
    loss = build_loss(name)
    embeddings, classes, _ = batch()
    parts = loss(embeddings, classes)
    found = weighted_loss(loss, embeddings, parts, torch.ones(SPEAKERS, CROPS), pairs)
    assert float(found) == pytest.approx(float(parts["total"].sum()), rel=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_are_equal_at_first_and_have_mean_one_ever_after(variant):
    player, loss = opponent(variant), build_loss("both")
    embeddings, classes, regions = batch()
    assert torch.equal(player.weights(embeddings, regions), torch.ones(SPEAKERS, CROPS))
    parts = loss(embeddings, classes)
    for _ in range(20):
        ascend(player, loss, embeddings, parts, regions)
    weights = player.weights(embeddings, regions)
    assert float(weights.std()) > 0.05
    assert float(weights.mean()) == pytest.approx(1.0, rel=1e-5)


def ascend(player: Opponent, loss, embeddings, parts, regions) -> float:
    """Make a step of the adversary; return the weighted loss before it."""
    detached = {name: part.detach() for name, part in parts.items()}

    def objective() -> Tensor:
        weights = player.weights(embeddings, regions)
        return weighted_loss(loss, embeddings, detached, weights, player.reading.pairs)

    with torch.no_grad():
        before = float(objective())
    player.ascend(objective)
    return before


@pytest.mark.parametrize("hidden_dim", [0, 8])
@pytest.mark.parametrize("variant", VARIANTS)
def test_ascent_raises_and_descent_lowers_the_weighted_loss(variant, hidden_dim):
    player, loss = opponent(variant, hidden_dim, lr=0.01), build_loss("both")
    embeddings, classes, regions = batch()
    with torch.no_grad():
        parts = loss(embeddings, classes)
    values = [ascend(player, loss, embeddings, parts, regions) for _ in range(40)]
    # Adam may overshoot near the bound of the weights, but not on the way to it.
    assert all(b > a for a, b in pairwise(values[:11]))
    assert values[-1] > values[0] * 1.01

    weights = player.weights(embeddings, regions).detach()
    learner = nn.Parameter(embeddings.clone())
    descent = torch.optim.SGD([learner], lr=0.05)
    falling = []
    for _ in range(10):
        value = weighted_loss(loss, learner, loss(learner, classes), weights, player.reading.pairs)
        falling.append(float(value))
        descent.zero_grad()
        value.backward()
        descent.step()
    assert all(b < a for a, b in pairwise(falling))


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_gradient_passes_through_the_input_of_the_adversary(variant):
    """The learner's gradient is that with the weights as constants, to the last bit."""
    player, loss = opponent(variant), build_loss("both")
    embeddings, classes, regions = batch()
    with torch.no_grad():
        parts = loss(embeddings, classes)
    for _ in range(10):
        ascend(player, loss, embeddings, parts, regions)
    gradients = []
    for constant in (False, True):
        learner = embeddings.clone().requires_grad_()
        weights = player.weights(learner, regions)
        weights = weights.detach() if constant else weights
        total = weighted_loss(loss, learner, loss(learner, classes), weights, player.reading.pairs)
        gradients.append(torch.autograd.grad(total, learner)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_adversary_leaves_no_gradient_in_the_loss(variant):
    player, loss = opponent(variant), build_loss("both")
    embeddings, classes, regions = batch()
    with torch.no_grad():
        parts = loss(embeddings, classes)
    ascend(player, loss, embeddings, parts, regions)
    assert all(p.grad is None for p in loss.parameters())


def test_pseudo_labels_are_one_weight_for_each_region():
    player, loss = opponent("pseudo_labels"), build_loss("both")
    embeddings, classes, regions = batch()
    with torch.no_grad():
        parts = loss(embeddings, classes)
    for _ in range(10):
        ascend(player, loss, embeddings, parts, regions)
    weights = player.weights(embeddings, regions)
    assert torch.equal(weights, player.weights(batch(7)[0], regions))
    of = [weights[regions == r] for r in range(REGIONS)]
    assert all(float(w.max() - w.min()) < 1e-6 for w in of if len(w))
    assert len({round(float(w[0]), 5) for w in of if len(w)}) > 1


def test_the_adversary_draws_nothing_from_the_learners_generator():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    one, other = opponent("pairwise"), opponent("pairwise")
    assert torch.equal(torch.rand(3), expected)
    for a, b in zip(one.adversary.parameters(), other.adversary.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("variant", VARIANTS)
def test_state_is_all_that_the_next_step_reads(variant):
    loss = build_loss("both")
    embeddings, classes, regions = batch()
    with torch.no_grad():
        parts = loss(embeddings, classes)
    one, other = opponent(variant), opponent(variant)
    for _ in range(3):
        ascend(one, loss, embeddings, parts, regions)
    # A copy, as a checkpoint is: Adam of torch 2 keeps the tensors that it is given.
    other.load_state(copy.deepcopy(one.state()))
    for player in (one, other):
        ascend(player, loss, embeddings, parts, regions)
    assert torch.equal(one.weights(embeddings, regions), other.weights(embeddings, regions))

"""What the loss adds for turns of talk: late ends, FastEmit beside them, silent channels."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from loss_fakes import WHOLE, make_inputs, make_joiner

from asrlib.transducer import LossConfig
from asrlib.transducer.loss import LossInputs, _recurse, masking_loss, pruned_loss

rnnt_types = pytest.mark.parametrize("rnnt_type", ["regular", "modified"])


def all_alignments(frames: int, labels: int, modified: bool) -> list[tuple[int, ...]]:
    """The frames of every label in every path: rising, strictly where one a frame at most."""
    choose = itertools.combinations if modified else itertools.combinations_with_replacement
    return list(choose(range(frames), labels))


def brute_force(
    px: torch.Tensor, py: torch.Tensor, ends_U: torch.Tensor, config: LossConfig
) -> torch.Tensor:
    """`-log sum` over all paths of one lattice, the penalty written out from its formula."""
    labels, frames = px.shape[0], py.shape[1]
    paths = []
    for times in all_alignments(frames, labels, config.rnnt_type == "modified"):
        score = torch.zeros((), dtype=px.dtype)
        for u, s in enumerate(times):
            late = max(0.0, config.eot_penalty * (s + 1 - config.eot_grace - float(ends_U[u])))
            score = score + px[u, s] - min(late, config.eot_penalty_max)
        for s in range(frames):
            # A blank at every frame; of `modified`, at those that emit no label.
            if config.rnnt_type == "modified" and s in times:
                continue
            score = score + py[sum(t <= s for t in times), s]
        paths.append(score)
    return -torch.logsumexp(torch.stack(paths), dim=0)


def lattice(rnnt_type: str, frames: int = 6, labels: int = 3) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    px = torch.randn(2, labels, frames + (rnnt_type == "regular"), dtype=torch.float64)
    if rnnt_type == "regular":
        px[:, :, -1] = float("-inf")
    py = torch.randn(2, labels + 1, frames, dtype=torch.float64)
    ends = torch.tensor([[float("inf"), 1.5, float("inf")], [0.5, float("inf"), 2.0]])
    return px, py, torch.tensor([[0, 0, labels, frames]] * 2), ends[:, :labels]


@rnnt_types
@pytest.mark.parametrize("fast_emit", [0.0, 0.3])
@pytest.mark.parametrize(
    "turns",
    [
        {},
        {"eot_penalty": 1.0, "eot_grace": 1.0},
        {"eot_penalty": 0.7, "eot_grace": 0.0, "eot_penalty_max": 1.2},
    ],
)
def test_penalty_and_fast_emit_are_those_of_a_sum_over_all_alignments(rnnt_type, fast_emit, turns):
    px, py, boundary, ends = lattice(rnnt_type)
    config = LossConfig(rnnt_type=rnnt_type, fast_emit=fast_emit, **turns)
    leaves = [x.clone().requires_grad_() for x in (px, py)]
    loss_B = _recurse(*leaves, boundary, config, ends)[0]
    expected_B = torch.stack(
        [brute_force(*(x[b] for x in leaves), ends[b], config) for b in (0, 1)]
    )
    torch.testing.assert_close(loss_B, expected_B, atol=1e-9, rtol=0)
    ours = torch.autograd.grad(loss_B.sum(), leaves)
    theirs = torch.autograd.grad(expected_B.sum(), leaves)
    frames = py.shape[2]
    torch.testing.assert_close(
        ours[0][..., :frames], (1 + fast_emit) * theirs[0][..., :frames], atol=1e-9, rtol=0
    )
    torch.testing.assert_close(ours[1], theirs[1], atol=1e-9, rtol=0)


@rnnt_types
def test_the_gradient_under_the_penalty_is_that_of_finite_differences(rnnt_type):
    px, py, boundary, ends = lattice(rnnt_type)
    config = LossConfig(rnnt_type=rnnt_type, fast_emit=0.2, eot_penalty=1.0, eot_grace=0.5)

    def loss(px: torch.Tensor, py: torch.Tensor) -> torch.Tensor:
        return _recurse(px, py, boundary, config, ends)[0].sum()

    leaves = [x.clone().requires_grad_() for x in (px, py)]
    grads = torch.autograd.grad(loss(*leaves), leaves)
    for which, factor in ((0, 1.2), (1, 1.0)):
        for index in itertools.product(range(2), range(3), range(6)):
            values = []
            for eps in (1e-5, -1e-5):
                moved = [px.clone(), py.clone()]
                moved[which][index] += eps
                values.append(loss(*moved))
            slope = factor * (values[0] - values[1]) / 2e-5
            torch.testing.assert_close(grads[which][index], slope, atol=1e-7, rtol=1e-5)


def with_turns(inputs: LossInputs, ends: float = 1.0) -> LossInputs:
    """Every other label is an `<eot>` whose turn ends at frame `ends`."""
    ends_BU = torch.full(inputs.tokens_BU.shape, float("inf"))
    ends_BU[:, ::2] = ends
    return dataclasses.replace(inputs, label_ends_BU=ends_BU)


@rnnt_types
def test_the_penalty_in_both_losses_is_that_of_a_sum_over_all_alignments(rnnt_type):
    torch.manual_seed(3)
    inputs, joiner = make_inputs([6, 5], [3, 2]), make_joiner()
    ends_BU = torch.full(inputs.tokens_BU.shape, float("inf"))
    ends_BU[:, 0], ends_BU[0, 2] = 1.5, 2.0
    inputs = dataclasses.replace(inputs, label_ends_BU=ends_BU)
    config = LossConfig(
        rnnt_type=rnnt_type,
        prune_range=WHOLE,
        fast_emit=0.1,
        eot_penalty=0.9,
        eot_grace=0.5,
        lm_scale=0.0,
        am_scale=0.0,
    )
    loss = pruned_loss(joiner, inputs, config)
    for b, (frames, labels) in enumerate([(6, 3), (5, 2)]):
        h_S1D, d_1UD = inputs.h_BSD[b, :frames, None], inputs.d_BUD[None, b, : labels + 1]
        am_S1V, lm_1UV = inputs.am_BSV[b, :frames, None], inputs.lm_BUV[None, b, : labels + 1]
        tokens_U = inputs.tokens_BU[b, :labels]
        found = (loss.pruned_B[b], loss.simple_B[b])
        for logits_SUV, value in zip((joiner(h_S1D, d_1UD), am_S1V + lm_1UV), found, strict=True):
            log_probs_USV = logits_SUV.log_softmax(-1).transpose(0, 1)
            px = torch.stack([log_probs_USV[u, :, token] for u, token in enumerate(tokens_U)])
            wanted = brute_force(px, log_probs_USV[..., 0], ends_BU[b], config)
            torch.testing.assert_close(value, wanted, atol=1e-5, rtol=0)


def test_the_penalty_reaches_both_losses_and_moves_the_ends():
    torch.manual_seed(0)
    inputs, joiner = with_turns(make_inputs([12, 9], [3, 2])), make_joiner()
    plain, late = (
        pruned_loss(joiner, inputs, LossConfig(prune_range=WHOLE, eot_penalty=x, eot_grace=1.0))
        for x in (0.0, 3.0)
    )
    assert (late.simple_B > plain.simple_B).all()
    assert (late.pruned_B > plain.pruned_B).all()
    assert (late.emission_frames_BU[:, 0] < plain.emission_frames_BU[:, 0]).all()
    assert (late.penalty_B > 0).all()
    assert not plain.penalty_B.any()


@rnnt_types
@pytest.mark.parametrize("fast_emit", [0.005, 10.0])
@pytest.mark.parametrize(
    "turns",
    [
        {"eot_penalty": 1.0, "eot_grace": 0.0},
        {"eot_penalty": 1e6, "eot_grace": 0.0},
        {"eot_penalty": 1e6, "eot_grace": 0.0, "eot_penalty_max": 1e6},
        {"eot_penalty": 1e30, "eot_grace": 0.0, "eot_penalty_max": 1e4},
    ],
)
@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0, 1000.0])
def test_fast_emit_with_the_penalty_stays_finite(rnnt_type, fast_emit, turns, scale):
    """The authors found the two unstable together; every path here is late, from the start."""
    torch.manual_seed(0)
    inputs = with_turns(make_inputs([60, 40, 30], [9, 12, 0]), ends=-50.0)
    inputs = dataclasses.replace(inputs, am_BSV=scale * inputs.am_BSV, lm_BUV=scale * inputs.lm_BUV)
    joiner = make_joiner()
    config = LossConfig(rnnt_type=rnnt_type, fast_emit=fast_emit, **turns)
    loss = pruned_loss(joiner, inputs, config)
    assert torch.isfinite(loss.simple_B).all()
    assert torch.isfinite(loss.pruned_B).all()
    leaves = (inputs.h_BSD, inputs.am_BSV, inputs.d_BUD, inputs.lm_BUV, *joiner.parameters())
    for grad in torch.autograd.grad((loss.simple_B + loss.pruned_B).sum(), leaves):
        assert torch.isfinite(grad).all()


def test_masking_is_the_mean_square_where_nobody_speaks():
    h_BSD = torch.randn(2, 5, 3)
    speech_BS = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    loss_B = masking_loss(h_BSD, torch.tensor([4, 5]), speech_BS)
    expected = [h_BSD[0, 2:4].square().sum() / 3, h_BSD[1].square().sum() / 3]
    torch.testing.assert_close(loss_B, torch.stack(expected))

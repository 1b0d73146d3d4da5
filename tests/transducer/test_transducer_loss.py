"""The pruned loss against its library's and torchaudio's, and what it adds to them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_fakes import DIM, VOCAB, WHOLE, make_inputs, make_joiner

from asrlib.config import from_dict
from asrlib.errors import ConfigError
from asrlib.transducer import LossConfig
from asrlib.transducer.lattice import gather_ranges
from asrlib.transducer.loss import (
    LossInputs,
    _recurse,
    backend,
    ctc_loss,
    loss_scales,
    pruned_loss,
)

quick = settings(deadline=None, max_examples=15)
rnnt_types = pytest.mark.parametrize("rnnt_type", ["regular", "modified"])


@quick
@given(
    sizes=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 4)), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_without_pruning_it_is_torchaudios_full_loss(sizes, seed):
    torch.manual_seed(seed)
    inputs = make_inputs([s for s, _ in sizes], [u for _, u in sizes])
    joiner = make_joiner()
    config = LossConfig(prune_range=WHOLE, lm_scale=0.0)
    loss = pruned_loss(joiner, inputs, config)
    lengths = [x.int() for x in (inputs.lengths_B, inputs.token_lengths_B)]
    leaves = (inputs.h_BSD, inputs.d_BUD)
    simple_leaves = (inputs.am_BSV, inputs.lm_BUV)
    for ours_B, logits, wrt in (
        (loss.pruned_B, joiner(leaves[0].unsqueeze(2), leaves[1].unsqueeze(1)), leaves),
        (
            loss.simple_B,
            simple_leaves[0].unsqueeze(2) + simple_leaves[1].unsqueeze(1),
            simple_leaves,
        ),
    ):
        theirs_B = torchaudio.functional.rnnt_loss(
            logits, inputs.tokens_BU.int(), *lengths, blank=0, reduction="none"
        )
        torch.testing.assert_close(ours_B, theirs_B, atol=1e-4, rtol=1e-4)
        grads = [torch.autograd.grad(x.sum(), wrt, retain_graph=True) for x in (ours_B, theirs_B)]
        for ours, theirs in zip(*grads, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@rnnt_types
@pytest.mark.parametrize("penalty", [0.0, 0.03])
@pytest.mark.parametrize("prune_range", [2, 3, WHOLE])
def test_losses_equal_the_librarys_own(rnnt_type, penalty, prune_range):
    torch.manual_seed(prune_range)
    inputs = make_inputs([9, 7, 5], [4, 5, 1])
    joiner = make_joiner()
    config = LossConfig(
        prune_range=prune_range, lm_scale=0.25, delay_penalty=penalty, rnnt_type=rnnt_type
    )
    ours = pruned_loss(joiner, inputs, config)
    common = {
        "symbols": inputs.tokens_BU,
        "termination_symbol": 0,
        "boundary": inputs.boundary(),
        "rnnt_type": rnnt_type,
        "delay_penalty": penalty,
        "reduction": "none",
    }
    simple_B, grads = backend().rnnt_loss_smoothed(
        lm=inputs.lm_BUV, am=inputs.am_BSV, lm_only_scale=0.25, am_only_scale=0.0,
        return_grad=True, **common,
    )  # fmt: skip
    ranges = backend().get_rnnt_prune_ranges(*grads, inputs.boundary(), prune_range)
    am, lm = backend().do_rnnt_pruning(
        joiner.encoder_proj(inputs.h_BSD), joiner.decoder_proj(inputs.d_BUD), ranges
    )
    logits = joiner(am, lm, project_input=False)
    pruned_B = backend().rnnt_loss_pruned(logits=logits, ranges=ranges, **common)
    torch.testing.assert_close(ours.simple_B, simple_B, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours.pruned_B, pruned_B, atol=1e-4, rtol=1e-5)


@rnnt_types
def test_a_delay_penalty_moves_labels_and_its_opposite_moves_them_back(rnnt_type):
    torch.manual_seed(3)
    inputs, joiner = make_inputs([12, 12], [3, 4]), make_joiner()
    frames = [
        pruned_loss(
            joiner,
            inputs,
            LossConfig(prune_range=WHOLE, delay_penalty=penalty, rnnt_type=rnnt_type),
        ).emission_frames_BU.sum()
        for penalty in (0.5, 0.0, -0.5)
    ]
    assert frames[0] < frames[1] - 1 < frames[1] + 1 < frames[2]


def test_pruning_only_removes_paths():
    torch.manual_seed(0)
    inputs, joiner = make_inputs([12, 9], [6, 5]), make_joiner()
    losses = [
        pruned_loss(joiner, inputs, LossConfig(prune_range=r)).pruned_B for r in (2, 4, WHOLE)
    ]
    assert (losses[0] > losses[1]).all()
    assert (losses[1] > losses[2]).all()


@rnnt_types
def test_fast_emit_scales_the_gradient_of_labels_exactly(rnnt_type):
    torch.manual_seed(0)
    frames, tokens = 6, 3
    shape = (2, tokens, frames + (rnnt_type == "regular"))
    px = torch.randn(shape, dtype=torch.float64)
    if rnnt_type == "regular":
        px[:, :, -1] = float("-inf")
    py = torch.randn(2, tokens + 1, frames, dtype=torch.float64)
    boundary = torch.tensor([[0, 0, tokens, frames]] * 2)
    upstream_B = torch.tensor([0.5, 2.0], dtype=torch.float64)

    def run(lam: float) -> list[torch.Tensor]:
        leaves = [x.clone().requires_grad_() for x in (px, py)]
        config = LossConfig(fast_emit=lam, rnnt_type=rnnt_type)
        loss_B = _recurse(*leaves, boundary, config)[0]
        return [loss_B.detach(), *torch.autograd.grad((loss_B * upstream_B).sum(), leaves)]

    plain, fast = run(0.0), run(0.3)
    assert torch.equal(plain[0], fast[0])
    torch.testing.assert_close(fast[1], plain[1] * 1.3, atol=0, rtol=1e-12)
    assert torch.equal(fast[2], plain[2])
    # And the plain gradient is the loss's, by finite differences.
    for which, index in ((0, (1, 1, 2)), (1, (0, 2, 3))):
        values = []
        for eps in (1e-5, -1e-5):
            moved = [px.clone(), py.clone()]
            moved[which][index] += eps
            values.append(_recurse(*moved, boundary, LossConfig(rnnt_type=rnnt_type))[0])
        slope = ((values[0] - values[1]) * upstream_B).sum() / 2e-5
        torch.testing.assert_close(slope, plain[1 + which][index], atol=1e-7, rtol=1e-5)


def test_fast_emit_reaches_both_losses():
    torch.manual_seed(0)
    inputs, joiner = make_inputs([8, 6], [3, 2]), make_joiner()
    plain, fast = (pruned_loss(joiner, inputs, LossConfig(fast_emit=x)) for x in (0.0, 0.5))
    for name, leaf in (("simple_B", inputs.am_BSV), ("pruned_B", inputs.h_BSD)):
        losses = [getattr(x, name) for x in (plain, fast)]
        assert torch.equal(*losses)
        a, b = (torch.autograd.grad(x.sum(), leaf, retain_graph=True)[0] for x in losses)
        assert not torch.allclose(a, b)


@rnnt_types
def test_utterances_in_a_batch_lose_what_they_lose_alone(rnnt_type):
    torch.manual_seed(0)
    lengths, token_lengths = [10, 7, 5, 3, 0], [4, 3, 5, 0, 0]
    inputs, joiner = make_inputs(lengths, token_lengths), make_joiner()
    config = LossConfig(prune_range=3, fast_emit=0.1, delay_penalty=0.01, rnnt_type=rnnt_type)
    together = pruned_loss(joiner, inputs, config)
    assert torch.isfinite(together.pruned_B).all()
    for i, (frames, tokens) in enumerate(zip(lengths, token_lengths, strict=True)):
        alone = pruned_loss(
            joiner,
            LossInputs(
                h_BSD=inputs.h_BSD[i : i + 1, :frames],
                am_BSV=inputs.am_BSV[i : i + 1, :frames],
                lengths_B=inputs.lengths_B[i : i + 1],
                d_BUD=inputs.d_BUD[i : i + 1, : tokens + 1],
                lm_BUV=inputs.lm_BUV[i : i + 1, : tokens + 1],
                tokens_BU=inputs.tokens_BU[i : i + 1, :tokens],
                token_lengths_B=inputs.token_lengths_B[i : i + 1],
            ),
            config,
        )
        torch.testing.assert_close(together.simple_B[i], alone.simple_B[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.pruned_B[i], alone.pruned_B[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            together.emission_frames_BU[i, :tokens],
            alone.emission_frames_BU[0],
            atol=1e-3,
            rtol=1e-3,
        )
        assert not together.emission_frames_BU[i, tokens:].any()


@rnnt_types
@pytest.mark.parametrize("lengths", [[4, 2], [0, 0]])
def test_empty_transcripts_lose_their_blanks(rnnt_type, lengths):
    torch.manual_seed(0)
    inputs, joiner = make_inputs(lengths, [0, 0]), make_joiner()
    loss = pruned_loss(joiner, inputs, LossConfig(rnnt_type=rnnt_type))
    logits = joiner(inputs.h_BSD, inputs.d_BUD[:, :1].expand_as(inputs.h_BSD))
    blank_BS = -logits.log_softmax(dim=2)[:, :, 0]
    expected_B = torch.stack([blank_BS[i, :n].sum() for i, n in enumerate(lengths)])
    torch.testing.assert_close(loss.pruned_B, expected_B, atol=1e-5, rtol=1e-5)
    assert loss.emission_frames_BU.shape == (2, 0)
    (loss.pruned_B.sum() + loss.simple_B.sum()).backward()
    assert torch.isfinite(inputs.h_BSD.grad).all()


@rnnt_types
def test_an_utterance_too_short_for_its_labels_can_be_left_out(rnnt_type):
    """Its loss is infinite, and the rest of the batch learns as if it were not there."""
    torch.manual_seed(0)
    inputs, joiner = make_inputs([8, 1, 0], [3, 7, 2]), make_joiner()
    config = LossConfig(prune_range=4, fast_emit=0.1, rnnt_type=rnnt_type)
    loss = pruned_loss(joiner, inputs, config)
    total_B = loss.simple_B + loss.pruned_B
    assert torch.isfinite(total_B).tolist() == [True, False, False]
    assert torch.isfinite(loss.emission_frames_BU).all()
    leaves = (inputs.h_BSD, inputs.am_BSV, inputs.d_BUD, inputs.lm_BUV, *joiner.parameters())
    grads = torch.autograd.grad(total_B[torch.isfinite(total_B)].sum(), leaves)
    good = dataclasses.replace(
        inputs,
        **{k: v[:1] for k, v in vars(inputs).items() if v is not None},
    )
    alone = pruned_loss(joiner, good, config)
    expected = torch.autograd.grad((alone.simple_B + alone.pruned_B).sum(), leaves)
    for a, b in zip(grads, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_emission_frames_find_the_frame_where_a_label_is_certain():
    joiner = make_joiner()
    frames, at = 9, [2, 6]
    h_BSD, d_BUD = torch.zeros(1, frames, DIM), torch.zeros(1, 3, DIM)
    inputs = dataclasses.replace(
        make_inputs([frames], [2]),
        h_BSD=h_BSD,
        d_BUD=d_BUD,
        tokens_BU=torch.tensor([[1, 2]]),
    )

    class Certain(torch.nn.Module):
        encoder_proj = decoder_proj = torch.nn.Identity()

        def forward(self, am, lm, project_input):
            logits = torch.zeros(1, frames, lm.shape[2], VOCAB)
            logits[..., 0] = 20.0
            for label, frame in zip((1, 2), at, strict=True):
                logits[:, frame, label - 1, label] = 40.0
            return logits

    config = LossConfig(prune_range=WHOLE)
    loss = pruned_loss(Certain(), inputs, config)
    torch.testing.assert_close(loss.emission_frames_BU, torch.tensor([[2.0, 6.0]]))
    assert not torch.allclose(
        pruned_loss(joiner, inputs, config).emission_frames_BU, loss.emission_frames_BU
    )


@quick
@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_ctc_is_torchs_and_infinite_without_bad_gradients(sizes, seed):
    torch.manual_seed(seed)
    lengths_B, token_lengths_B = (torch.tensor(x) for x in zip(*sizes, strict=True))
    tokens_BU = torch.randint(1, 3, (len(sizes), int(token_lengths_B.max())))
    logits = torch.randn(len(sizes), int(lengths_B.max()), VOCAB, requires_grad=True)
    loss_B = ctc_loss(logits.log_softmax(2), lengths_B, tokens_BU, token_lengths_B)
    log_probs = logits.log_softmax(2).transpose(0, 1)
    expected_B = F.ctc_loss(log_probs, tokens_BU, lengths_B, token_lengths_B, reduction="none")
    torch.testing.assert_close(loss_B, expected_B)
    loss_B[torch.isfinite(loss_B)].sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[torch.isinf(loss_B)].any()


def test_the_weights_go_from_simple_to_pruned():
    config = LossConfig(simple_scale=0.5, warmup_steps=100)
    assert loss_scales(0, config) == (1.0, 0.1)
    assert loss_scales(50, config) == pytest.approx((0.75, 0.55))
    assert loss_scales(100, config) == loss_scales(9999, config) == (0.5, 1.0)
    assert loss_scales(0, LossConfig(warmup_steps=0)) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"prune_range": 1}, "prune_range"),
        ({"rnnt_type": "constrained"}, "rnnt_type"),
        ({"fast_emit": -0.1}, "fast_emit"),
        ({"fastemit": 0.1}, "did you mean fast_emit"),
    ],
)
def test_a_wrong_value_is_named(values, match):
    with pytest.raises(ConfigError, match=match):
        from_dict(LossConfig, values)


def test_gathered_ranges_learn():
    d_BUD = torch.randn(2, 4, 3, requires_grad=True)
    gather_ranges(d_BUD, torch.tensor([[[0, 1]], [[2, 3]]])).sum().backward()
    expected = torch.zeros(2, 4, 3)
    expected[0, :2] = expected[1, 2:] = 1.0
    assert torch.equal(d_BUD.grad, expected)

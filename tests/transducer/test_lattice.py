"""Our lattice functions against k2's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.transducer.lattice import (
    gather_ranges,
    prune_ranges,
    pruned_logprobs,
    smoothed_logprobs,
)

k2 = pytest.importorskip("k2", reason="k2, which is compared with, is not in this environment")


@settings(deadline=None, max_examples=25)
@given(
    frames=st.integers(4, 9),
    tokens=st.integers(1, 4),
    scales=st.sampled_from([(0.0, 0.0), (0.25, 0.0), (0.0, 0.2), (0.25, 0.1)]),
    rnnt_type=st.sampled_from(["regular", "modified"]),
    seed=st.integers(0, 99),
)
def test_smoothed_logprobs_and_their_gradients_equal_k2s(frames, tokens, scales, rnnt_type, seed):
    torch.manual_seed(seed)
    am = (3 * torch.randn(3, frames, 6)).requires_grad_()
    lm = (3 * torch.randn(3, tokens + 1, 6)).requires_grad_()
    symbols_BU = torch.randint(1, 6, (3, tokens))
    boundary = torch.tensor([[0, 0, tokens, frames], [0, 0, 1, 3], [0, 0, 0, 1]])
    lm_scale, am_scale = scales
    ours = smoothed_logprobs(
        am,
        lm,
        symbols_BU,
        boundary,
        blank=0,
        lm_scale=lm_scale,
        am_scale=am_scale,
        rnnt_type=rnnt_type,
    )
    theirs = k2.get_rnnt_logprobs_smoothed(
        lm=lm,
        am=am,
        symbols=symbols_BU,
        termination_symbol=0,
        lm_only_scale=lm_scale,
        am_only_scale=am_scale,
        boundary=boundary,
        rnnt_type=rnnt_type,
    )
    grads = []
    for px, py in (ours, theirs):
        scores_B = k2.mutual_information_recursion(px, py, boundary)
        grads.append(torch.autograd.grad(scores_B.sum(), (am, lm)))
    for a, b in zip((*ours, *grads[0]), (*theirs, *grads[1]), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)


def test_gathered_ranges_equal_k2s():
    d_BUD = torch.randn(2, 5, 3)
    begin_BS1 = torch.tensor([[0, 1, 2], [0, 0, 1]]).unsqueeze(2)
    ranges_BSR = begin_BS1 + torch.arange(3)
    _, theirs = k2.do_rnnt_pruning(am=torch.randn(2, 3, 4), lm=d_BUD, ranges=ranges_BSR)
    assert torch.equal(gather_ranges(d_BUD, ranges_BSR), theirs)


@settings(deadline=None, max_examples=25)
@given(
    frames=st.integers(4, 12),
    tokens=st.integers(1, 4),
    prune_range=st.integers(2, 6),
    rnnt_type=st.sampled_from(["regular", "modified"]),
    seed=st.integers(0, 99),
)
def test_ranges_and_pruned_logprobs_equal_k2s(frames, tokens, prune_range, rnnt_type, seed):
    torch.manual_seed(seed)
    boundary = torch.tensor([[0, 0, tokens, frames], [0, 0, 1, 3], [0, 0, 0, 1]])
    px = torch.randn(3, tokens, frames + (rnnt_type == "regular")).log_softmax(2)
    py = torch.randn(3, tokens + 1, frames).log_softmax(2)
    _, grads = k2.mutual_information_recursion(px, py, boundary, return_grad=True)
    ranges_BSR = prune_ranges(*grads, boundary, prune_range)
    assert torch.equal(ranges_BSR, k2.get_rnnt_prune_ranges(*grads, boundary, prune_range))
    logits = (3 * torch.randn(*ranges_BSR.shape, 6)).requires_grad_()
    symbols_BU = torch.randint(1, 6, (3, tokens))
    ours = pruned_logprobs(logits, symbols_BU, ranges_BSR, boundary, blank=0, rnnt_type=rnnt_type)
    theirs = k2.get_rnnt_logprobs_pruned(
        logits, symbols_BU, ranges_BSR, 0, boundary, rnnt_type=rnnt_type
    )
    results = []
    for px, py in (ours, theirs):
        scores_B = k2.mutual_information_recursion(px, py, boundary)
        finite = scores_B[scores_B.isfinite()].sum()
        results.append((px, py, scores_B, torch.autograd.grad(finite, logits)[0]))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)

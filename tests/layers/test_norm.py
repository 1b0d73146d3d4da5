"""Global normalisation, and batch normalisation that does not see padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.errors import DataError
from asrlib.layers.norm import GlobalNorm, MaskedBatchNorm


def test_global_norm_gives_mean_zero_and_deviation_one():
    x_BTF = 3.0 * torch.randn(4, 200, 5) + torch.arange(5.0)
    flat = x_BTF.reshape(-1, 5)
    norm = GlobalNorm(5)
    assert torch.equal(norm(x_BTF), x_BTF)
    norm.set_stats(flat.mean(0), flat.std(0, unbiased=False))
    y = norm(x_BTF).reshape(-1, 5)
    torch.testing.assert_close(y.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(0, unbiased=False), torch.ones(5))


def test_global_norm_survives_a_constant_feature():
    norm = GlobalNorm(2)
    norm.set_stats([1.0, 2.0], [0.0, 1.0])
    assert torch.isfinite(norm(torch.ones(1, 3, 2))).all()


@pytest.mark.parametrize(
    ("mean", "std"), [([0.0] * 3, [1.0] * 3), ([0.0, float("nan")], [1.0] * 2)]
)
def test_global_norm_refuses_wrong_statistics(mean, std):
    with pytest.raises(DataError, match="feature statistics"):
        GlobalNorm(2).set_stats(mean, std)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_masked_batch_norm_equals_torch_on_the_valid_frames(lengths, seed):
    torch.manual_seed(seed)
    lengths_B = torch.tensor(lengths)
    if lengths_B.sum() < 2:
        lengths_B[0] = 2  # torch refuses fewer
    mask_BS = torch.arange(int(lengths_B.max()) + 2) < lengths_B.unsqueeze(1)
    x_BSD = torch.randn(*mask_BS.shape, 3) * 2 + 1
    ours, torchs = MaskedBatchNorm(3), torch.nn.BatchNorm1d(3, momentum=None)
    for module in (ours, torchs):
        torch.nn.init.constant_(module.weight, 1.5)
        torch.nn.init.constant_(module.bias, -0.5)
    torch.testing.assert_close(ours(x_BSD, mask_BS)[mask_BS], torchs(x_BSD[mask_BS]))
    torch.testing.assert_close(ours.running_mean_D, torchs.running_mean)
    torch.testing.assert_close(ours.running_var_D, torchs.running_var)
    ours.eval(), torchs.eval()
    torch.testing.assert_close(ours(x_BSD, None)[mask_BS], torchs(x_BSD[mask_BS]))


@given(seed=st.integers(0, 99), padding=st.integers(0, 5))
def test_masked_batch_norm_comes_to_train_what_it_evaluates(seed, padding):
    torch.manual_seed(seed)
    mask_BS = torch.arange(40 + padding) < torch.tensor([[40], [25]])
    x_BSD = torch.randn(2, 40 + padding, 3) * torch.tensor([0.5, 1.0, 2.0]) + 1
    early, late = MaskedBatchNorm(3), MaskedBatchNorm(3)
    late.set_run_length(100)
    late.batches.fill_(38.0)
    for norm in (early, late):
        norm.running_mean_D.copy_(torch.tensor([0.5, 1.5, 0.0]))
        norm.running_var_D.copy_(torch.tensor([0.5, 1.5, 2.0]))
    expected_BSD = late.eval()(x_BSD, None)
    assert not torch.allclose(early(x_BSD, mask_BS), expected_BSD)
    torch.testing.assert_close(late.train()(x_BSD, mask_BS), expected_BSD)


def test_masked_batch_norm_is_finite_without_any_valid_frame():
    norm = MaskedBatchNorm(2)
    x_BSD = torch.randn(2, 3, 2, requires_grad=True)
    norm(x_BSD, torch.zeros(2, 3, dtype=torch.bool)).sum().backward()
    assert torch.isfinite(x_BSD.grad).all()
    assert torch.isfinite(norm.running_var_D).all()

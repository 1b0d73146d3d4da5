"""Global normalisation, and batch normalisation that does not see padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.data.augment import SILENCE
from asrlib.errors import DataError
from asrlib.layers.norm import GlobalNorm, MaskedBatchNorm, RunningNorm


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


@settings(deadline=None, max_examples=40)
@given(
    pieces=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    prior=st.floats(0.5, 200.0),
    variance=st.booleans(),
    silent=st.floats(0.0, 0.7),
    seed=st.integers(0, 999),
)
def test_running_norm_is_its_definition_in_pieces_of_any_length(
    pieces, prior, variance, silent, seed
):
    torch.manual_seed(seed)
    norm, frames = RunningNorm(3, prior, variance), sum(pieces)
    x_BTF = 2.0 * torch.randn(2, frames, 3) + torch.tensor([1.0, -2.0, 0.5])
    raw_BTF = x_BTF.clone()
    raw_BTF[torch.rand(2, frames) < silent] = SILENCE
    state, outputs, start = norm.initial_state(2, torch.device("cpu")), [], 0
    for size in pieces:
        part = slice(start, start + size)
        y_BTF, state = norm(x_BTF[:, part], raw_BTF[:, part], state)
        outputs.append(y_BTF)
        start += size
    y_BTF = torch.cat(outputs, dim=1)
    for b in range(2):
        for t in range(frames):
            heard = raw_BTF[b, : t + 1, 0] > SILENCE
            seen_NF = x_BTF[b, : t + 1][heard].double()
            count = len(seen_NF) + prior
            expected_F = x_BTF[b, t].double() - seen_NF.sum(0) / count
            if variance:
                spread_F = (seen_NF - seen_NF.mean(0)).square().sum(0)  # of no frames, 0
                variance_F = (spread_F + prior) / count
                expected_F /= variance_F.clamp(min=0.01).sqrt()
            torch.testing.assert_close(y_BTF[b, t].double(), expected_F, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variance", [False, True])
def test_running_norm_takes_a_channel_off_and_keeps_its_first_frame_near_the_global_one(variance):
    norm = RunningNorm(4, 100.0, variance)
    zero = norm.initial_state(1, torch.device("cpu"))
    x_BTF = torch.randn(1, 5000, 4)
    channel_F = torch.tensor([3.0, -3.0, 1.0, 0.0])
    plain_BTF, _ = norm(x_BTF, x_BTF, zero)
    there_BTF, _ = norm(x_BTF + channel_F, x_BTF, zero)
    torch.testing.assert_close(there_BTF[:, 4000:], plain_BTF[:, 4000:], atol=0.1, rtol=0)
    torch.testing.assert_close(there_BTF[:, 0], (x_BTF + channel_F)[:, 0], atol=0.02, rtol=0.02)


def test_running_norm_survives_a_constant_signal():
    norm = RunningNorm(2, 1.0, variance=True)
    x_BTF = torch.full((1, 20_000, 2), 5.0)
    y_BTF, _ = norm(x_BTF, x_BTF, norm.initial_state(1, torch.device("cpu")))
    assert torch.isfinite(y_BTF).all()
    assert y_BTF.abs().max() < 100

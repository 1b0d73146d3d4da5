"""The law of all encoders: steps equal forward, the future changes no past, padding nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from encoder_configs import COHORT, CONFIGS, FRONT, NUM_BINS, drawn_condition, make, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.encoders import (
    flatten_state,
    map_state,
    stack_states,
    unflatten_state,
    unstack_state,
)
from asrlib.layers.schedule import set_step

encoders = pytest.mark.parametrize("name", CONFIGS)
quick = settings(deadline=None, max_examples=12)


@encoders
@quick
@given(
    pieces=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    batch=st.integers(1, 3),
    rest=st.integers(0, 2),
    seed=st.integers(0, 999),
)
@torch.no_grad()
def test_steps_equal_forward_for_any_split(name, pieces, batch, rest, seed):
    encoder = make(name)
    torch.manual_seed(seed)
    sizes = [n * encoder.subsampling for n in pieces]
    x_BTF = torch.randn(batch, sum(sizes) + min(rest, encoder.subsampling - 1), NUM_BINS)
    condition_BC = drawn_condition(encoder, batch)
    state, outputs = encoder.initial_state(batch, condition_BC=condition_BC), []
    start = 0
    for size in sizes:
        h_BSD, state = encoder.step(x_BTF[:, start : start + size], state)
        outputs.append(h_BSD)
        start += size
    expected = whole(encoder, x_BTF, condition_BC)
    torch.testing.assert_close(torch.cat(outputs, 1), expected, atol=1e-4, rtol=0)


@encoders
@quick
@given(frames=st.integers(1, 40), future=st.integers(0, 39), seed=st.integers(0, 999))
@torch.no_grad()
def test_the_future_changes_no_past_output(name, frames, future, seed):
    encoder = make(name)
    torch.manual_seed(seed)
    x_BTF = torch.randn(1, frames * encoder.subsampling, NUM_BINS)
    future = min(future, frames - 1)
    changed_BTF = x_BTF.clone()
    changed_BTF[:, future * encoder.subsampling] += 10.0
    before, after = whole(encoder, x_BTF), whole(encoder, changed_BTF)
    torch.testing.assert_close(before[:, :future], after[:, :future], atol=1e-6, rtol=0)
    # Behind three convolutions, the ReLUs of a tiny CNN may be off for a few frames.
    if name not in FRONT or frames - future > 8:
        assert not torch.allclose(before[:, future:], after[:, future:], atol=1e-6)


@encoders
@quick
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4), seed=st.integers(0, 999))
@torch.no_grad()
def test_padding_changes_nothing(name, lengths, seed):
    encoder = make(name)
    torch.manual_seed(seed)
    x_BTF = 9.0 * torch.randn(len(lengths), max(lengths) + 5, NUM_BINS)
    condition_BC = drawn_condition(encoder, len(lengths))
    h_BSD, h_lengths_B = encoder(x_BTF, torch.tensor(lengths), condition_BC)
    n = encoder.num_channels
    outputs = [length // encoder.subsampling for length in lengths]
    assert h_lengths_B.tolist() == [length for length in outputs for _ in range(n)]
    for i, length in enumerate(lengths):
        own = None if condition_BC is None else condition_BC[i : i + 1]
        alone = whole(encoder, x_BTF[i : i + 1, :length], own)
        rows = h_BSD[i * n : i * n + n, : alone.shape[1]]
        torch.testing.assert_close(rows, alone, atol=1e-4, rtol=0)


@encoders
@quick
@given(joins=st.integers(1, 4), seed=st.integers(0, 999))
@torch.no_grad()
def test_a_stream_that_joins_a_running_batch_gives_what_it_gives_alone(name, joins, seed):
    encoder = make(name)
    torch.manual_seed(seed)
    piece = 2 * encoder.subsampling
    x_BTF = torch.randn(2, 6 * piece, NUM_BINS)
    first, second = drawn_condition(encoder, 1), drawn_condition(encoder, 1)
    state = encoder.initial_state(1, condition_BC=first)
    for i in range(joins):
        _, state = encoder.step(x_BTF[:1, i * piece : (i + 1) * piece], state)
    state = stack_states([state, encoder.initial_state(1, condition_BC=second)])
    first_BTF = x_BTF[:1, joins * piece :]
    second_BTF = x_BTF[1:, : first_BTF.shape[1]]
    outputs = []
    for part_BTF in torch.cat([first_BTF, second_BTF]).split(piece, dim=1):
        h_BSD, state = encoder.step(part_BTF, stack_states(unstack_state(state)))
        outputs.append(h_BSD)
    h_BSD = torch.cat(outputs, dim=1)
    expected = whole(encoder, x_BTF[:1], first)[:, joins * 2 :]
    n = encoder.num_channels
    torch.testing.assert_close(h_BSD[:n], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(h_BSD[n:], whole(encoder, second_BTF, second), atol=1e-4, rtol=0)


@encoders
@torch.no_grad()
def test_a_state_survives_flattening_and_starts_with_zeros(name):
    encoder = make(name)
    x_BTF = torch.randn(2, 4 * encoder.subsampling, NUM_BINS)
    zeros = encoder.initial_state(2)
    assert all((t == 0).all() and t.shape[0] == 2 for t in flatten_state(zeros))
    start = encoder.initial_state(2, condition_BC=drawn_condition(encoder, 2))
    _, state = encoder.step(x_BTF, start)
    restored = unflatten_state(map_state(torch.zeros_like, zeros), flatten_state(state))
    torch.testing.assert_close(encoder.step(x_BTF, restored)[0], encoder.step(x_BTF, state)[0])


@encoders
@pytest.mark.parametrize("extra", [-1, 1])
def test_a_step_refuses_what_is_no_multiple_of_the_subsampling(name, extra):
    encoder = make(name)
    frames = extra if encoder.subsampling > 1 else 0
    x_BTF = torch.randn(1, 2 * encoder.subsampling * abs(frames) + frames, NUM_BINS)
    with pytest.raises(ValueError, match="multiple"):
        encoder.step(x_BTF, encoder.initial_state(1))


@encoders
def test_training_ignores_padding(name):
    """Outputs and running statistics of a training batch depend on valid frames only."""
    encoders = [make(name).train() for _ in range(2)]
    lengths_B = torch.tensor([24, 12])
    x_BTF = torch.randn(2, 24, NUM_BINS)
    noisy_BTF = x_BTF.clone()
    noisy_BTF[1, 12:] = 100.0
    outputs = []
    for encoder, x in zip(encoders, (x_BTF, noisy_BTF), strict=True):
        torch.manual_seed(2)
        outputs.append(encoder(x, lengths_B)[0])
    half = 12 // encoders[0].subsampling
    n = encoders[0].num_channels
    torch.testing.assert_close(outputs[0][:n], outputs[1][:n])
    torch.testing.assert_close(outputs[0][n:, :half], outputs[1][n:, :half])
    for a, b in zip(encoders[0].buffers(), encoders[1].buffers(), strict=True):
        torch.testing.assert_close(a, b)


@encoders
def test_every_parameter_learns(name):
    encoder = make(name).train()
    set_step(encoder, 20)  # its depth is whole
    for _ in range(10):  # what toggles turn off learns nothing there
        condition_BC = torch.eye(3, 2) if encoder.condition_dim else None
        h_BSD, _ = encoder(torch.randn(3, 30, NUM_BINS), torch.tensor([30, 30, 20]), condition_BC)
        h_BSD.square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


cohort = pytest.mark.parametrize("name", COHORT)


@cohort
@torch.no_grad()
def test_zeros_change_no_bit_whatever_was_learnt(name):
    encoder = make(name)
    plain = replace(CONFIGS[name], condition=0).build(NUM_BINS)
    weights = {k: v for k, v in encoder.state_dict().items() if k != "condition_CF"}
    plain.load_state_dict(weights)
    plain.eval()
    x_BTF = torch.randn(3, 24 * encoder.subsampling, NUM_BINS)
    zeros_BC = torch.zeros(3, 2)
    assert torch.equal(whole(encoder, x_BTF, zeros_BC), whole(plain, x_BTF))
    assert torch.equal(whole(encoder, x_BTF), whole(plain, x_BTF))
    assert not torch.equal(whole(encoder, x_BTF, torch.ones(3, 2)), whole(plain, x_BTF))
    state = encoder.initial_state(3, condition_BC=zeros_BC)
    h_BSD = encoder.step(x_BTF, state)[0]
    assert torch.equal(h_BSD, plain.step(x_BTF, plain.initial_state(3))[0])


@cohort
@torch.no_grad()
def test_a_new_encoder_has_the_weights_and_outputs_of_one_without_condition(name):
    torch.manual_seed(3)
    encoder = CONFIGS[name].build(NUM_BINS).eval()
    torch.manual_seed(3)
    plain = replace(CONFIGS[name], condition=0).build(NUM_BINS).eval()
    assert set(encoder.state_dict()) - set(plain.state_dict()) == {"condition_CF"}
    for key, weight in plain.state_dict().items():
        assert torch.equal(weight, encoder.state_dict()[key])
    x_BTF = torch.randn(2, 8 * encoder.subsampling, NUM_BINS)
    assert torch.equal(whole(encoder, x_BTF, torch.eye(2)), whole(plain, x_BTF))
    assert len(flatten_state(encoder.initial_state(1))) == 1 + len(
        flatten_state(plain.initial_state(1))
    )


@cohort
@quick
@given(before=st.integers(0, 4), after=st.integers(1, 4), seed=st.integers(0, 999))
@torch.no_grad()
def test_a_stream_that_is_told_its_cohort_later_continues(name, before, after, seed):
    """Nothing of its past changes; from there on it is what the frames with the bias make of it."""
    encoder = make(name)
    torch.manual_seed(seed)
    piece = 2 * encoder.subsampling
    x_BTF = torch.randn(2, (before + after) * piece, NUM_BINS)
    told_BC = torch.eye(2)
    state, outputs = encoder.initial_state(2), []
    for i, part_BTF in enumerate(x_BTF.split(piece, dim=1)):
        if i == before:
            state = encoder.with_condition(state, told_BC)
        h_RSD, state = encoder.step(part_BTF, state)
        outputs.append(h_RSD)
    x_BSF, _ = encoder.stack(x_BTF, encoder.initial_state(2).front)
    x_BSF[:, 2 * before :] += (told_BC @ encoder.condition_CF).unsqueeze(1)
    expected, _ = encoder.advance(x_BSF, encoder.initial_state(2).own, None)
    torch.testing.assert_close(torch.cat(outputs, 1), expected, atol=1e-4, rtol=0)
    assert torch.equal(state.condition, told_BC)


def test_a_condition_that_does_not_fit_is_refused():
    encoder, plain = make("lstm-rich-cohort"), make("lstm-rich")
    x_BTF, lengths_B = torch.randn(2, 6, NUM_BINS), torch.tensor([6, 6])
    for wrong in (torch.zeros(2, 3), torch.zeros(1, 2), torch.zeros(2)):
        with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
            encoder(x_BTF, lengths_B, wrong)
        with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
            encoder.with_condition(encoder.initial_state(2), wrong)
    with pytest.raises(ValueError, match="takes no condition"):
        plain(x_BTF, lengths_B, torch.zeros(2, 2))

"""The law of all encoders: steps equal forward, the future changes no past, padding nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.data.augment import SILENCE
from asrlib.encoders import (
    AmortizedConfig,
    ConformerConfig,
    ContextNetConfig,
    ConvRnntConfig,
    LstmConfig,
    LstmStackConfig,
    SeparatorConfig,
    StreamingEncoder,
    flatten_state,
    map_state,
    stack_states,
    unflatten_state,
    unstack_state,
)
from asrlib.encoders.amortized import AmortizedSchedule
from asrlib.encoders.toggles import ArbitratorConfig
from asrlib.layers.norm import GlobalNorm, MaskedBatchNorm
from asrlib.layers.schedule import set_run_length, set_step

NUM_BINS = 6
PLAIN = LstmStackConfig(layers=2, hidden_dim=7, layer_norm=False, dropout=0.5)
RICH = LstmStackConfig(layers=3, hidden_dim=8, projection_dim=5, residual=True, dropout=0.5)
NORMED = LstmStackConfig(layers=1, hidden_dim=7, dropout=0.5)
CONV = {"dim": 8, "local_channels": (3, 2), "global_blocks": 4, "output_dim": 5, "dropout": 0.5}
CONFORMER = {
    "layers": 2,
    "dim": 8,
    "heads": 2,
    "feedforward_dim": 12,
    "kernel": 3,
    "dropout": 0.5,
    "output_dim": 5,
}
CONFIGS = {
    "lstm-plain": LstmConfig(subsampling=2, lstm=PLAIN, output_dim=5),
    "lstm-rich": LstmConfig(subsampling=3, input_dim=9, lstm=RICH, output_dim=5),
    "conv": ConvRnntConfig(subsampling=2, lstm=PLAIN, **CONV),
    "conv-grouped": ConvRnntConfig(subsampling=3, lstm=RICH, grouped=True, **CONV),
    "conv-norms": ConvRnntConfig(
        subsampling=2, lstm=PLAIN, local_norm=True, frame_norm=True, **CONV
    ),
    "conv-channels": ConvRnntConfig(subsampling=3, lstm=PLAIN, local_stacking="channels", **CONV),
    "conv-local": ConvRnntConfig(subsampling=2, lstm=PLAIN, use_global=False, **CONV),
    "conv-global": ConvRnntConfig(subsampling=1, lstm=PLAIN, use_local=False, **CONV),
    "conv-global-same-width": ConvRnntConfig(
        subsampling=2, lstm=PLAIN, use_local=False, **{**CONV, "dim": 12}
    ),
    "conv-merge-dim": ConvRnntConfig(subsampling=2, lstm=PLAIN, merge_dim=7, **CONV),
    "conv-merge-dim-local": ConvRnntConfig(
        subsampling=2, lstm=PLAIN, use_global=False, merge_dim=7, **CONV
    ),
    "conv-kernel-1": ConvRnntConfig(subsampling=2, lstm=PLAIN, local_kernel=1, **CONV),
    "contextnet": ContextNetConfig(
        subsampling=2, channels=(6, 6, 8, 4), layers=2, kernel=3, dropout=0.5, output_dim=5
    ),
    "conformer": ConformerConfig(subsampling=3, left_context=4, **CONFORMER),
    "conformer-one-norm": ConformerConfig(left_context=4, block_norm=False, **CONFORMER),
    "conformer-one-frame": ConformerConfig(subsampling=2, left_context=1, **CONFORMER),
    "separator": SeparatorConfig(subsampling=2, lstm=NORMED, module_dim=6, output_dim=5),
    "separator-three": SeparatorConfig(
        subsampling=3, input_dim=9, channels=3, lstm=RICH, module_dim=8, output_dim=5
    ),
    "separator-one": SeparatorConfig(channels=1, lstm=NORMED, module_dim=6, output_dim=5),
    "conformer-long-memory": ConformerConfig(subsampling=1, left_context=50, **CONFORMER),
}
AMORTIZED = {**CONFORMER, "layers": 3, "subsampling": 2, "left_context": 5}
del AMORTIZED["kernel"]
for kind in ("none", "random", "single", "dual"):
    for cell in ("feedforward", "lstm") if kind in ("single", "dual") else ("lstm",):
        for parts in (("query",), ("key",), ("query", "key")):
            toggled = {part: part in parts for part in ("query", "key")}
            CONFIGS[f"amortized-{kind}-{cell}-{'-'.join(parts)}"] = AmortizedConfig(
                arbitrator=ArbitratorConfig(kind=kind, cell=cell, dim=6, keep=0.5, **toggled),
                schedule=AmortizedSchedule(final_noise=3.0),  # each is on at times
                **AMORTIZED,
            )
CONFIGS |= {  # at a depth that `make` gives them
    "contextnet-growing": ContextNetConfig(channels=(6,) * 5, kernel=3, grow=0.5, output_dim=5),
    "conv-growing": ConvRnntConfig(
        subsampling=2, lstm=PLAIN, grow=0.5, **{**CONV, "global_blocks": 3}
    ),
    "conformer-growing": ConformerConfig(grow=0.5, **{**CONFORMER, "layers": 4}),
    "amortized-growing": AmortizedConfig(
        grow=0.5, schedule=AmortizedSchedule(cost_start=0.5), **{**AMORTIZED, "layers": 4}
    ),
}
COHORT = {  # one of each kind, and those that treat their input in a way of their own
    f"{name}-cohort": replace(CONFIGS[name], condition=2)
    for name in (
        *("lstm-rich", "conv-norms", "conv-channels", "contextnet", "conformer"),
        *("separator-three", "amortized-dual-lstm-query-key"),
    )
}
FRONT = {  # what precedes the first layer, of every kind of encoder
    f"{name}-{front}": replace(CONFIGS[name], **settings)
    for front, settings in {
        "mean": {"running_norm": "mean", "running_prior": 5.0},
        "variance-right1": {"running_norm": "mean_variance", "right_context": 1},
        "right3": {"right_context": 3},
    }.items()
    for name in (
        *("lstm-rich", "conv-norms", "conv-channels", "contextnet", "conformer"),
        *("separator-three", "amortized-dual-lstm-query-key"),
    )
}
FRONT["conv-all"] = replace(
    COHORT["conv-norms-cohort"], running_norm="mean_variance", running_prior=3.0, right_context=2
)
CONFIGS |= COHORT | FRONT
encoders = pytest.mark.parametrize("name", CONFIGS)
quick = settings(deadline=None, max_examples=12)


def make(name: str) -> StreamingEncoder:
    """An encoder in evaluation, its statistics far from trivial."""
    torch.manual_seed(1)
    encoder = CONFIGS[name].build(NUM_BINS)
    for module in encoder.modules():
        if isinstance(module, GlobalNorm):
            module.set_stats(torch.randn(NUM_BINS), torch.rand(NUM_BINS) + 0.5)
        if isinstance(module, MaskedBatchNorm):
            torch.nn.init.normal_(module.bias)
            module.running_mean_D.normal_()
            module.running_var_D.uniform_(0.5, 2.0)
    if encoder.condition_CF is not None:
        torch.nn.init.normal_(encoder.condition_CF)
    set_run_length(encoder, 20)
    set_step(encoder, 4)  # of three blocks that join, one and 0.6 of another count
    encoder.eval()
    return encoder


def drawn_condition(encoder: StreamingEncoder, batch: int) -> torch.Tensor | None:
    """Memberships at random, unknown ones among them; None for an encoder without condition."""
    if not encoder.condition_dim:
        return None
    known_QC = torch.cat([torch.zeros(1, encoder.condition_dim), torch.eye(encoder.condition_dim)])
    return known_QC[torch.randint(len(known_QC), (batch,))]


def whole(
    encoder: StreamingEncoder, x_BTF: torch.Tensor, condition_BC: torch.Tensor | None = None
) -> torch.Tensor:
    lengths_B = torch.full((x_BTF.shape[0],), x_BTF.shape[1])
    h_BSD, h_lengths_B = encoder(x_BTF, lengths_B, condition_BC)
    rows = x_BTF.shape[0] * encoder.num_channels
    assert h_BSD.shape == (rows, x_BTF.shape[1] // encoder.subsampling, 5)
    assert h_lengths_B.tolist() == [h_BSD.shape[1]] * rows
    return h_BSD


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


@pytest.mark.parametrize("name", [name for name in FRONT if name.endswith("-mean")])
@torch.no_grad()
def test_running_statistics_add_no_weights_and_draw_nothing(name):
    made = []
    for config in (CONFIGS[name], replace(CONFIGS[name], running_norm="none")):
        torch.manual_seed(3)
        made.append(config.build(NUM_BINS).eval())
    first, second = (encoder.state_dict() for encoder in made)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    x_BTF = torch.randn(2, 8 * made[0].subsampling, NUM_BINS)
    assert not torch.equal(whole(made[0], x_BTF), whole(made[1], x_BTF))


@pytest.mark.parametrize("name", [name for name in FRONT if name.endswith("-mean")])
@torch.no_grad()
def test_digital_silence_before_speech_leaves_the_running_statistics_alone(name):
    encoder = make(name)
    silence_BTF = torch.full((1, 6 * encoder.subsampling, NUM_BINS), SILENCE)
    _, state = encoder.step(silence_BTF, encoder.initial_state(1))
    assert all((t == 0).all() for t in flatten_state(state.front))


@pytest.mark.parametrize("count", [1, 2, 3])
@torch.no_grad()
def test_no_path_leads_around_the_convolutions_for_right_context(count):
    """Without their weights, an encoder hears nothing."""
    encoder = replace(CONFIGS["lstm-rich"], right_context=count).build(NUM_BINS).eval()
    for parameter in encoder.right_context[-1].parameters():
        parameter.zero_()
    a_BTF, b_BTF = torch.randn(2, 1, 12, NUM_BINS)
    assert torch.equal(whole(encoder, a_BTF), whole(encoder, b_BTF))


@pytest.mark.parametrize("values", [{"right_context": 4}, {"running_prior": 0.0}])
def test_a_front_that_cannot_be_is_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        LstmConfig(**values)

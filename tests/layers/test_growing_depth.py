"""Depth that grows in training: which blocks count, when, and what the others do not touch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrlib.encoders import (
    AmortizedConfig,
    ConformerConfig,
    ContextNetConfig,
    ConvRnntConfig,
    LstmStackConfig,
    StreamingEncoder,
)
from asrlib.encoders.amortized import AmortizedSchedule
from asrlib.layers.growing_depth import GrowingDepth
from asrlib.layers.progress import completed
from asrlib.layers.schedule import set_run_length, set_step

NUM_BINS, LAYERS, STEPS = 6, 4, 100
SMALL = {"dim": 8, "heads": 2, "feedforward_dim": 12, "output_dim": 5, "layers": LAYERS}
CONFIGS = {
    "conformer": ConformerConfig(grow=0.5, left_context=5, block_norm=False, **SMALL),
    "contextnet": ContextNetConfig(grow=0.5, channels=(6,) * LAYERS, output_dim=5),
    "amortized": AmortizedConfig(
        grow=0.5, schedule=AmortizedSchedule(cost_start=0.5), left_context=5, **SMALL
    ),
    "conv_rnnt": ConvRnntConfig(
        grow=0.5,
        dim=8,
        local_channels=(2,),
        global_blocks=LAYERS,
        lstm=LstmStackConfig(layers=1, hidden_dim=6),
        output_dim=5,
    ),
}
JOINING = {"contextnet": [1, 2], "conv_rnnt": [0, 1, 2, 3]}
encoders = pytest.mark.parametrize("name", CONFIGS)


def make(name: str, seed: int = 1) -> StreamingEncoder:
    torch.manual_seed(seed)
    return CONFIGS[name].build(NUM_BINS)


def trained_to(encoder: StreamingEncoder, step: int) -> None:
    """Let a training be at this step, and evaluate."""
    encoder.train()
    set_step(encoder, step)
    encoder.eval()


def shares(depth: GrowingDepth) -> list[float]:
    """Which part of a block's effect each block has."""
    zero, one = torch.zeros(()), torch.ones(())
    return [
        depth.mix(i, zero, one).item() if depth.counts(i) else 0.0
        for i in range(len(depth.shares_Z))
    ]


@given(
    joining=st.lists(st.booleans(), min_size=1, max_size=9),
    grow=st.floats(0.01, 0.99),
    run_length=st.integers(1, 5000),
    data=st.data(),
)
def test_blocks_join_in_order_and_in_time(joining, grow, run_length, data):
    depth = GrowingDepth(joining, grow)
    assert shares(depth) == [1.0] * len(joining)  # no training has begun
    depth.set_run_length(run_length)
    first, second = sorted(data.draw(st.lists(st.integers(0, run_length), min_size=2, max_size=2)))
    depth.set_step(first)
    before = shares(depth)
    depth.set_step(second)
    after = shares(depth)
    assert all(b <= a for b, a in zip(before, after, strict=True))
    assert all(share == 1.0 for share, joins in zip(after, joining, strict=True) if not joins)
    joined = [share for share, joins in zip(after, joining, strict=True) if joins]
    assert joined == sorted(joined, reverse=True)
    assert sum(0.0 < share < 1.0 for share in joined) <= 1  # one at a time
    depth.set_step(0)
    assert shares(depth) == [float(not joins) for joins in joining]
    depth.set_step(run_length)
    assert shares(depth) == [1.0] * len(joining)
    assert depth.whole


@encoders
def test_what_has_not_joined_is_not_computed_and_does_not_learn(name):
    encoder = make(name)
    set_run_length(encoder, STEPS)
    set_step(encoder, 0)
    joining = JOINING.get(name, [0, 1, 2])
    h_BSD, _ = encoder(torch.randn(2, 40, NUM_BINS), torch.tensor([40, 40]))
    h_BSD.sum().backward()
    for i, block in enumerate(encoder.blocks):
        learned = [p.grad is not None for p in block.parameters()]
        assert not any(learned) if i in joining else all(learned)


@encoders
@torch.no_grad()
def test_a_run_ends_as_deep_as_a_model_that_does_not_grow(name):
    encoder = make(name).eval()
    x_BTF, lengths_B = torch.randn(2, 40, NUM_BINS), torch.tensor([40, 40])
    whole_BSD = encoder(x_BTF, lengths_B)[0]
    set_run_length(encoder, STEPS)
    trained_to(encoder, STEPS // 4)
    assert not torch.allclose(encoder(x_BTF, lengths_B)[0], whole_BSD)
    trained_to(encoder, STEPS // 2)
    assert torch.equal(encoder(x_BTF, lengths_B)[0], whole_BSD)


@encoders
@torch.no_grad()
def test_a_checkpoint_is_as_deep_as_it_was_trained(name):
    encoder, loaded = make(name).eval(), make(name, seed=2).eval()
    set_run_length(encoder, STEPS)
    trained_to(encoder, STEPS // 4)
    loaded.load_state_dict(encoder.state_dict())
    assert shares(loaded.depth) == shares(encoder.depth)
    x_BTF, lengths_B = torch.randn(2, 40, NUM_BINS), torch.tensor([40, 40])
    assert torch.equal(loaded(x_BTF, lengths_B)[0], encoder(x_BTF, lengths_B)[0])


@encoders
def test_a_training_that_starts_from_a_model_has_all_its_depth(name):
    before, encoder = make(name), make(name, seed=2)
    set_run_length(encoder, STEPS)
    encoder.load_state_dict(completed(before.state_dict()))
    for step in (0, STEPS // 4, STEPS):
        set_step(encoder, step)
        assert encoder.depth.whole
    loaded = make(name)
    loaded.load_state_dict(encoder.state_dict())  # interrupted, and gone on with
    set_run_length(loaded, STEPS)
    set_step(loaded, 1)
    assert loaded.depth.whole


def test_the_depth_is_set_again_after_a_bad_step():
    """Which puts the buffers back, behind the module's back."""
    depth = GrowingDepth([True, True], 0.5)
    depth.set_run_length(STEPS)
    depth.set_step(STEPS // 4)
    before = depth.shares_Z.clone()
    depth.set_step(STEPS // 2)
    depth.shares_Z.copy_(before)
    depth.set_step(STEPS // 2 + 1)
    assert depth.shares_Z.tolist() == shares(depth) == [1.0, 1.0]


def test_a_block_that_changes_the_width_is_there_from_the_start():
    config = ContextNetConfig(grow=0.5, channels=(6, 6, 8, 8, 8), output_dim=5)
    encoder = config.build(NUM_BINS)
    set_run_length(encoder, STEPS)
    set_step(encoder, 0)
    assert shares(encoder.depth) == [1.0, 0.0, 1.0, 0.0, 1.0]

"""The amortized Transformer: skipping equals masking, costs are those counted by hand."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.config import from_dict
from asrlib.encoders import AmortizedConfig, amortized
from asrlib.encoders.amortized import AmortizedSchedule
from asrlib.encoders.base import Work
from asrlib.encoders.skippable_blocks import GatedAttention, GatedFeedForward, weights_of_keys
from asrlib.encoders.toggles import ArbitratorConfig, Toggles
from asrlib.errors import ConfigError, UserError
from asrlib.layers import compiled_ops
from asrlib.layers.schedule import set_run_length, set_step

NUM_BINS = 6
SMALL = {"subsampling": 2, "layers": 3, "dim": 8, "heads": 2, "feedforward_dim": 12}
quick = settings(deadline=None, max_examples=15)


def make(left_context: int = 4, **arbitrator: object):
    torch.manual_seed(1)
    config = AmortizedConfig(
        **SMALL, left_context=left_context, arbitrator=ArbitratorConfig(dim=6, **arbitrator)
    )
    encoder = config.build(NUM_BINS).eval()
    for block in encoder.blocks:
        torch.nn.init.normal_(block.attention.distance_bias_HL)
    return encoder


def share_BS(work: Work) -> torch.Tensor:
    return work.spent_BS / work.full_BS


def some_toggles(batch: int, frames: int, share: float) -> Toggles:
    def draw(*shape: int) -> torch.Tensor:
        return (torch.rand(batch, frames, *shape) < share).float()

    return Toggles(draw(), draw(2), draw(2))


@quick
@given(
    frames=st.one_of(st.integers(1, 20), st.integers(30, 100)),  # the kernel takes 32 at a time
    share=st.sampled_from([0.0, 0.05, 0.2, 0.5, 0.9, 1.0]),
    left=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@torch.no_grad()
def test_skipping_equals_masking(frames, share, left, seed):
    torch.manual_seed(seed)
    attention, feedforward = GatedAttention(8, 2, left).eval(), GatedFeedForward(8, 12, 0.0).eval()
    torch.nn.init.normal_(attention.distance_bias_HL)
    toggles, x_BSD = some_toggles(2, frames, share), torch.randn(2, frames, 8)
    states = [attention.initial_state(2, x_BSD.device)] * 2
    for _ in range(2):  # the second time with a memory
        outputs = []
        for i, skip in enumerate((False, True)):
            before = states[i].keep_BHL
            y_BSD, states[i], spent_BS = attention(x_BSD, toggles, states[i], skip)
            outputs.append((y_BSD, feedforward(x_BSD, toggles.feedforward_BS, skip)))
        for masked, skipped in zip(*outputs, strict=True):
            torch.testing.assert_close(masked, skipped, atol=1e-5, rtol=0)
        query_BHS, key_BHS = (t.transpose(1, 2) for t in (toggles.query_BSH, toggles.key_BSH))
        keep_BHN = torch.cat([before, key_BHS], dim=2)
        assert torch.equal(attention.cost(query_BHS[None], keep_BHN[None]), spent_BS)


@pytest.mark.parametrize("kind", ["random", "single", "dual"])
@torch.no_grad()
def test_a_whole_encoder_skips_to_the_same_output(kind):
    encoder = make(kind=kind, keep=0.5)
    x_BTF, lengths_B = torch.randn(3, 40, NUM_BINS), torch.tensor([40, 30, 20])
    skipped, _, made = encoder(x_BTF, lengths_B, with_cost=True)
    encoder.skip = False
    masked, _, expected = encoder(x_BTF, lengths_B, with_cost=True)
    torch.testing.assert_close(masked, skipped, atol=1e-5, rtol=0)
    torch.testing.assert_close(expected.spent_BS, made.spent_BS)
    assert torch.equal(expected.full_BS, made.full_BS)
    assert 0.05 < float(share_BS(made).mean()) < 0.95


def test_operations_of_another_source_are_not_loaded(monkeypatch, tmp_path):
    """They are named by the source and by torch; what is not built is named with its fix."""
    built = compiled_ops.library_path()
    assert built.exists()
    first, *others = compiled_ops.SOURCES
    changed = tmp_path / first.name
    changed.write_text(first.read_text() + "// changed")
    monkeypatch.setattr(compiled_ops, "SOURCES", (changed, *others))
    assert compiled_ops.library_path() != built
    with pytest.raises(UserError, match=r"gated_block\.cc"):
        compiled_ops.kernels.__wrapped__()
    library = compiled_ops.library_path()
    monkeypatch.setattr(compiled_ops, "library_path", lambda: changed)  # a file, but no library
    with pytest.raises(UserError, match="cannot be loaded"):
        compiled_ops.kernels.__wrapped__()
    assert library != built


@torch.no_grad()
def test_what_is_off_takes_no_time():
    """Of an encoder that is large beside what goes on around its blocks; half of everything, at
    random, takes a part of the time, in pieces of so many frames that products are not all reading
    of weights."""
    config = AmortizedConfig(layers=4, dim=256, feedforward_dim=1024)
    x_BTF, seconds = torch.randn(1, 256, 80), {}
    for share, kind, keep in ((0.0, "single", 0.9), (0.5, "random", 0.5), (1.0, "none", 0.9)):
        arbitrator = ArbitratorConfig(kind=kind, dim=6, keep=keep)
        encoder = replace(config, arbitrator=arbitrator).build(80).eval()
        if kind == "single":
            encoder.arbitrators[0].net.output.bias.fill_(-9.0)
        state = encoder.initial_state(1)
        for _ in range(2):  # its whole past is heard
            _, state = encoder.step(x_BTF, state)
        spent, full = encoder.work(state)
        assert spent / full == pytest.approx(share, abs=0.1)
        times = []
        for _ in range(20):
            start = time.process_time()
            encoder.step(x_BTF, state)
            times.append(time.process_time() - start)
        seconds[kind] = min(times)
    off, half, on = seconds.values()
    assert off < 0.5 * on, seconds
    assert half < 0.9 * on, seconds


@torch.no_grad()
def test_in_double_precision_all_is_computed():
    encoder, x_BTF = make(kind="dual", keep=0.5), torch.randn(1, 40, NUM_BINS)
    single_BSD = encoder(x_BTF, torch.tensor([40]))[0]
    double_BSD = encoder.double()(x_BTF.double(), torch.tensor([40]))[0]
    torch.testing.assert_close(double_BSD.float(), single_BSD, atol=1e-5, rtol=0)


@torch.no_grad()
def test_without_operations_all_is_computed_to_the_same_output(monkeypatch, caplog):
    encoder, x_BTF = make(kind="dual", keep=0.5), torch.randn(1, 40, NUM_BINS)
    skipped = encoder(x_BTF, torch.tensor([40]))[0]

    def missing():
        raise UserError("x.so: missing", "run tools/install.sh")

    monkeypatch.setattr(compiled_ops, "kernels", missing)
    monkeypatch.setattr(amortized, "kernels_work", compiled_ops.kernels_work.__wrapped__)
    torch.testing.assert_close(encoder(x_BTF, torch.tensor([40]))[0], skipped, atol=1e-5, rtol=0)
    assert "x.so: missing. Computing without it" in caplog.text


@pytest.mark.parametrize("lead", [0.0, 20.0, 60.0])
def test_soft_keys_count_as_their_logarithm_says(lead):
    """A V with A = softmax(P + ln s), however far the best score is ahead and however little its
    key counts."""
    attention = GatedAttention(4, 1, 2).double()
    with torch.no_grad():
        for weight in (attention.query.weight, attention.query.bias, attention.distance_bias_HL):
            weight.zero_()
        attention.distance_bias_HL[0, 2] = lead
    keep_BSH = torch.tensor([1e-12, 0.7, 1.0], dtype=torch.float64).view(1, 3, 1)
    toggles = Toggles(torch.ones(1, 3), torch.ones(1, 3, 1).double(), keep_BSH)
    x_BSD = torch.randn(1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y_BSD, *_ = attention(x_BSD, toggles, attention.initial_state(1, torch.device("cpu")), False)
    value_SK = attention.key_value(attention.norm(x_BSD))[0, :, 4:]
    scores_N = torch.tensor([lead, 0.0, 0.0], dtype=torch.float64) + keep_BSH.flatten().log()
    wanted_D = attention.output(scores_N.softmax(0) @ value_SK)
    torch.testing.assert_close((y_BSD - x_BSD)[0, 2], wanted_D)


@pytest.mark.parametrize("keep_N", [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.3, 0.0]])
def test_a_key_that_is_off_has_the_gradient_of_coming_on(keep_N):
    """Else none would ever come back; `softmax(P + ln s)` has it, but not by a logarithm."""
    scores_N = torch.tensor([-0.7, 0.2, -0.1], dtype=torch.float64)
    value_N = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    keep_N = torch.tensor(keep_N, dtype=torch.float64, requires_grad=True)
    output = weights_of_keys(scores_N, keep_N) @ value_N
    output.backward()
    bit = torch.tensor([1e-6, 0.0, 0.0], dtype=torch.float64)
    more = weights_of_keys(scores_N, keep_N.detach() + bit) @ value_N
    assert keep_N.grad[0] != 0
    torch.testing.assert_close(keep_N.grad[0], (more - output.detach()) / 1e-6, rtol=1e-4, atol=0)


@given(
    lead=st.floats(-200, 200),
    keep=st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=6),
)
def test_the_gradient_of_keys_is_bounded(lead, keep):
    """However far the best score of those that are off is ahead, and where all are."""
    scores_N = torch.tensor([lead] + [0.0] * (len(keep) - 1))
    keep_N = torch.tensor(keep, requires_grad=True)
    weights_N = weights_of_keys(scores_N, keep_N)
    weights_N[-1].backward()
    assert float(weights_N.sum()) == pytest.approx(float(any(keep)))
    assert float(keep_N.grad.abs().max()) <= 1.0


def test_random_toggles_differ_in_training_and_not_in_inference():
    encoder = make(kind="random", keep=0.5)
    x_BTF, lengths_B = torch.randn(1, 40, NUM_BINS).expand(2, -1, -1), torch.tensor([40, 40])
    for training in (False, True):
        spent_BS = encoder.train(training)(x_BTF, lengths_B, with_cost=True)[2].spent_BS
        assert torch.equal(spent_BS[0], spent_BS[1]) != training


def test_gradients_take_the_masked_way():
    """In evaluation too: the operations that skip have none."""
    encoder = make(kind="dual", keep=0.5)
    encoder(torch.randn(1, 20, NUM_BINS), torch.tensor([20]))[0].sum().backward()
    assert encoder.blocks[0].attention.query.weight.grad is not None


@torch.no_grad()
def test_a_query_without_a_key_gives_nothing_but_the_bias():
    attention = GatedAttention(8, 2, 3).eval()
    on, off = torch.ones(1, 5, 2), torch.zeros(1, 5, 2)
    x_BSD = torch.randn(1, 5, 8)
    for skip in (False, True):
        state = attention.initial_state(1, x_BSD.device)
        y_BSD, *_ = attention(x_BSD, Toggles(on[..., 0], on, off), state, skip)
        torch.testing.assert_close(y_BSD, x_BSD + attention.output.bias)


@torch.no_grad()
def test_a_key_that_is_off_is_seen_by_no_frame():
    attention = GatedAttention(8, 2, 9).eval()
    key_BSH = torch.ones(1, 6, 2)
    key_BSH[0, 2] = 0.0
    toggles = Toggles(torch.ones(1, 6), torch.ones(1, 6, 2), key_BSH)
    x_BSD = torch.randn(1, 6, 8)
    changed_BSD = x_BSD.clone()
    changed_BSD[0, 2] += 5.0
    state = attention.initial_state(1, x_BSD.device)
    before, after = (attention(x, toggles, state, False)[0] for x in (x_BSD, changed_BSD))
    torch.testing.assert_close(before[0, 3:], after[0, 3:])


@quick
@given(frames=st.integers(1, 9), left=st.integers(1, 5), seed=st.integers(0, 99))
@torch.no_grad()
def test_the_cost_is_what_counting_pairs_gives(frames, left, seed):
    torch.manual_seed(seed)
    attention = GatedAttention(8, 2, left)
    toggles = some_toggles(1, frames, 0.6)
    before = attention.initial_state(1, torch.device("cpu")).keep_BHL
    keep_BHN = torch.cat([before, toggles.key_BSH.transpose(1, 2)], dim=2)
    cost_S = attention.cost(toggles.query_BSH.transpose(1, 2)[None], keep_BHN[None])[0]
    for i in range(frames):
        expected = 0
        for h in range(2):
            if toggles.key_BSH[0, i, h]:
                expected += 2 * 8 * 4  # key and value
            if toggles.query_BSH[0, i, h]:
                reach = range(max(0, i - left), i + 1)
                seen = sum(int(toggles.key_BSH[0, j, h]) for j in reach)
                expected += 2 * 8 * 4 + seen * 2 * 4  # query and output; score and sum
        assert cost_S[i] == expected


@torch.no_grad()
def test_everything_on_costs_one():
    _, _, work = make(kind="none")(
        torch.randn(2, 30, NUM_BINS), torch.tensor([30, 30]), with_cost=True
    )
    assert torch.equal(work.spent_BS, work.full_BS.expand(2, -1))
    assert work.full_BS.shape[1] == 15


@torch.no_grad()
def test_the_full_cost_is_what_the_profiler_counts():
    """One frame with its whole reach heard: nothing that masking throws away is computed."""
    encoder = make(left_context=4, kind="none")
    encoder.skip = False
    block = encoder.blocks[0]
    toggles = Toggles(torch.ones(1, 1), torch.ones(1, 1, 2), torch.ones(1, 1, 2))
    x_BSD, state = torch.randn(1, 1, 8), block.attention.initial_state(1, torch.device("cpu"))
    for _ in range(4):
        _, state, _ = block(x_BSD, toggles, state, False)
    with torch.profiler.profile(with_flops=True) as profile:
        block(x_BSD, toggles, state, False)
    kinds = ("aten::addmm", "aten::mm", "aten::bmm")
    counted = sum(event.flops for event in profile.key_averages() if event.key in kinds)
    full = block.attention.full_cost(1, torch.tensor([[4.0]])) + block.feedforward.multiplications
    assert counted == 2 * full.item()


@torch.no_grad()
def test_a_stream_knows_its_work_whatever_the_pieces():
    encoder = make(kind="dual", keep=0.5)
    x_BTF = torch.randn(2, 40, NUM_BINS)
    state = encoder.initial_state(2)
    for piece_BTF in x_BTF.split([2, 14, 8, 16], dim=1):
        _, state = encoder.step(piece_BTF, state)
    _, _, work = encoder(x_BTF, torch.tensor([40, 40]), with_cost=True)
    block = encoder.blocks[0]
    full_S = block.attention.full_cost(20, torch.zeros(1, 1)) + block.feedforward.multiplications
    full_S = SMALL["layers"] * full_S
    spent, full = encoder.work(state)
    assert full == pytest.approx(2 * full_S.sum().item())
    assert spent == pytest.approx(work.spent_BS.sum().item(), rel=1e-6)
    assert 0 < spent < full


def test_the_cost_reaches_the_arbitrators():
    encoder = make(kind="dual").train()
    _, _, work = encoder(torch.randn(2, 30, NUM_BINS), torch.tensor([30, 30]), with_cost=True)
    work.spent_BS.sum().backward()
    for arbitrator in encoder.arbitrators:
        assert all(p.grad is not None and p.grad.any() for p in arbitrator.parameters())


@pytest.mark.parametrize("straight_through", [True, False])
def test_less_is_kept_when_only_the_cost_counts(straight_through):
    """With hard toggles and with the paper's soft ones, whose noise grows and temperature falls."""
    encoder = make(kind="single", cell="feedforward").train()
    paper = {} if straight_through else {"noise": 0.0, "final_noise": 1.0, "final_temperature": 0.1}
    schedule = AmortizedSchedule(cost_start=0.1, straight_through=straight_through, **paper)
    encoder.config = replace(encoder.config, schedule=schedule)
    set_run_length(encoder, 30)
    optimizer = torch.optim.Adam(encoder.arbitrators.parameters(), lr=0.05)
    x_BTF, lengths_B = torch.randn(2, 30, NUM_BINS), torch.tensor([30, 30])
    costs = []
    for step in range(30):
        set_step(encoder, step)
        cost = share_BS(encoder(x_BTF, lengths_B, with_cost=True)[2]).mean()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(float(cost))
    assert costs[-1] < 0.1 < 0.7 < costs[0]


def test_the_phases_are_as_long_as_the_training_makes_them():
    encoder = make()
    weights = []
    for run_length in (100, 5000):
        set_run_length(encoder, run_length)
        for share in (0.0, 0.39, 0.5, 0.9, 1.0):
            set_step(encoder, round(share * run_length))
            weights.append(encoder.cost_weight())
    assert weights[:5] == pytest.approx(weights[5:])
    assert weights[:2] == [0.0, 0.0]
    assert 0 < weights[2] < weights[3] == pytest.approx(weights[4])


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"heads": 5}, "encoder.heads: 5 does not divide encoder.dim"),
        ({"schedule": {"final_weight": -0.1}}, "final_weight"),
        ({"arbitrator": {"kind": "triple"}}, "arbitrator.kind"),
        ({"left_context": 0}, "left_context"),
        ({"grow": 0.5}, r"encoder.grow: 0.5 is beyond encoder.schedule.cost_start = 0.4"),
        (
            {"arbitrator": {"feedforward": False, "query": False, "key": False}},
            "encoder.arbitrator",
        ),
    ],
)
def test_a_wrong_value_is_named(values, match):
    with pytest.raises(ConfigError, match=match):
        from_dict(AmortizedConfig, values)


@pytest.mark.parametrize("kind", ["single", "dual"])
def test_arbitrators_that_begin_with_everything_off_are_named(kind):
    with pytest.raises(ConfigError, match=r"encoder\.arbitrator\.keep: 0\.4 starts training with"):
        make(kind=kind, keep=0.4)


def test_a_pattern_that_leaves_nothing_on_is_named():
    with pytest.raises(
        ConfigError, match=r"encoder\.arbitrator\.keep: with 1e-07 no query sees a key"
    ):
        make(kind="random", keep=1e-7)

"""Laws of the searches, on encoder outputs made by hand."""

from __future__ import annotations

import importlib.util
import itertools
import math
from dataclasses import replace

import pytest
import torch
from streaming_fakes import random_model, small_config
from torch import Tensor

from asrlib.streaming.fast_beam import FastBeamConfig, FastBeamSearch, _with_history
from asrlib.streaming.greedy import GreedyConfig, GreedySearch
from asrlib.streaming.modified_beam import ModifiedBeamConfig, ModifiedBeamSearch
from asrlib.streaming.search import Hypothesis, Search
from asrlib.transducer.model import Transducer

VOCAB = 4


@pytest.fixture(scope="module", params=["stateless", "lstm"])
def model(request) -> Transducer:
    return random_model("lstm", request.param, VOCAB, seed=3)


@pytest.fixture(scope="module")
def stateless() -> Transducer:
    return random_model("lstm", "stateless", VOCAB, seed=3)


def frames(length: int, seed: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, 32, generator=generator)


def run(search: Search, h_BSD: Tensor) -> Hypothesis:
    state = search.initial_state()
    search.advance(h_BSD, [state])
    return search.best(state)


@torch.no_grad()
def alignment_scores(
    model: Transducer, h_BSD: Tensor, first: int = 0
) -> dict[tuple[int, ...], float]:
    """Log-probability of every alignment (a symbol or blank per frame), by brute force."""
    scores = {}
    for path in itertools.product(range(VOCAB), repeat=h_BSD.shape[1]):
        y = [first]
        score = 0.0
        for s, symbol in enumerate(path):
            d_BUD = model.predictor(torch.tensor([y]))
            logits = model.joiner(h_BSD[:, s], d_BUD[:, -1])[0].double()
            score += float(logits.log_softmax(-1)[symbol])
            y += [symbol] if symbol else []
        scores[path] = score
    return scores


def tokens_of(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(symbol for symbol in path if symbol)


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("length_norm", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_sums_over_all_alignments(model, seed, length_norm, first):
    h_BSD = frames(4, seed)
    totals: dict[tuple[int, ...], float] = {}
    for path, score in alignment_scores(model, h_BSD, first).items():
        tokens = tokens_of(path)
        totals[tokens] = math.log(math.exp(totals.get(tokens, -math.inf)) + math.exp(score))
    best = max(totals, key=lambda t: totals[t] / (len(t) + 1 if length_norm else 1))
    config = ModifiedBeamConfig(beam=VOCAB**4, length_norm=length_norm)
    found = run(ModifiedBeamSearch(model, config, first_symbol=first), h_BSD)
    assert found.tokens == best
    assert found.score == pytest.approx(totals[best], abs=1e-4)


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("seed", range(3))
def test_fast_beam_finds_the_best_alignment(stateless, seed, first):
    h_BSD = frames(4, seed)
    scores = alignment_scores(stateless, h_BSD, first)
    path = max(scores, key=scores.__getitem__)
    config = FastBeamConfig(beam=100.0, max_contexts=1000, max_states=1000)
    found = run(FastBeamSearch(stateless, config, first_symbol=first), h_BSD)
    assert found.tokens == tokens_of(path)
    assert found.frames == tuple(i for i, symbol in enumerate(path) if symbol)
    assert found.score == pytest.approx(scores[path], abs=1e-4)


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(model, seed, first):
    h_BSD, one = frames(60, seed), GreedyConfig(max_symbols_per_frame=1)
    greedy = run(GreedySearch(model, one, first_symbol=first), h_BSD)
    beam = run(ModifiedBeamSearch(model, ModifiedBeamConfig(beam=1), first_symbol=first), h_BSD)
    assert greedy.tokens
    assert (beam.tokens, beam.frames) == (greedy.tokens, greedy.frames)
    assert beam.score == pytest.approx(greedy.score, abs=1e-3)
    assert beam.log_probs == pytest.approx(greedy.log_probs, abs=1e-4)


def test_a_beam_finds_at_least_what_greedy_finds(model):
    """Not a theorem for one utterance (a beam may lose the greedy path), but for their sum."""
    greedy = GreedySearch(model, GreedyConfig(max_symbols_per_frame=1))
    config = ModifiedBeamConfig(beam=4, length_norm=False)
    beam = ModifiedBeamSearch(model, config)
    gains = [run(beam, frames(40, s)).score - run(greedy, frames(40, s)).score for s in range(8)]
    assert sum(gains) > 0


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_greedy_emits_at_most_its_limit_per_frame(model, limit):
    biased = random_model("lstm", "stateless", VOCAB, seed=3)
    biased.joiner.output_linear.bias.data[0] = -100.0  # never blank
    search = GreedySearch(biased, GreedyConfig(max_symbols_per_frame=limit))
    found = run(search, frames(7, 0))
    assert found.frames == tuple(f for f in range(7) for _ in range(limit))


def test_greedy_follows_the_training_by_default(model):
    loss = replace(model.config.loss, rnnt_type="modified")
    modified = replace(small_config("lstm", "stateless", 32), loss=loss)
    assert GreedySearch(model, GreedyConfig()).max_symbols == 3
    assert GreedySearch(Transducer(modified, 80, VOCAB), GreedyConfig()).max_symbols == 1


def searches(model: Transducer) -> list[Search]:
    made: list[Search] = [
        GreedySearch(model, GreedyConfig()),
        ModifiedBeamSearch(model, ModifiedBeamConfig()),
    ]
    k2 = importlib.util.find_spec("k2")  # torch 2.13 has none
    if k2 is not None and model.config.predictor.name == "stateless":
        made.append(FastBeamSearch(model, FastBeamConfig(max_lattice_frames=16)))
    return made


def test_cuts_and_company_change_nothing(model):
    h_BSD = frames(50, 1, batch=3)
    for search in searches(model):
        alone = [run(search, h_BSD[i : i + 1]) for i in range(3)]
        states = [search.initial_state() for _ in range(3)]
        # The third stream is 9 frames ahead of the others.
        search.advance(h_BSD[2:, :9], states[2:])
        for start, end in ((0, 1), (1, 8), (8, 41)):
            shifted = torch.cat([h_BSD[:2, start:end], h_BSD[2:, start + 9 : end + 9]])
            search.advance(shifted, states)
        search.advance(h_BSD[:2, 41:], states[:2])
        found = [search.best(state) for state in states]
        assert [(f.tokens, f.frames) for f in found] == [(a.tokens, a.frames) for a in alone]
        assert [f.score for f in found] == pytest.approx([a.score for a in alone], abs=1e-3)
        assert [search.last_frame(s) for s in states] == [a.frames[-1] for a in alone]


def test_frames_count_from_the_stream(model):
    h_BSD = frames(20, 2)
    for search in searches(model):
        state = search.initial_state(frame=100)
        assert search.last_frame(state) is None
        assert search.best(state).tokens == ()
        search.advance(h_BSD, [state])
        later = search.best(state)
        first = run(search, h_BSD)
        assert later.tokens == first.tokens
        assert later.frames == tuple(f + 100 for f in first.frames)


def test_a_settled_lattice_of_fast_beam_goes_on_with_its_history(stateless):
    """A new lattice at every frame is the greedy search: it knows only the best path."""
    h_BSD = frames(60, 4)
    search = FastBeamSearch(stateless, FastBeamConfig(max_lattice_frames=1))
    greedy = run(GreedySearch(stateless, GreedyConfig(max_symbols_per_frame=1)), h_BSD)
    found = run(search, h_BSD)
    assert len(greedy.tokens) > 3
    assert (found.tokens, found.frames) == (greedy.tokens, greedy.frames)
    assert found.score == pytest.approx(greedy.score, abs=1e-3)


def test_contexts_of_k2_get_their_history():
    context = torch.tensor([[0, 0, 0], [0, 0, 7], [0, 8, 7], [9, 8, 7]])
    start = torch.tensor([[-1, -1, 0]]).expand(4, 3)
    assert _with_history(context, start).tolist() == [
        [-1, -1, 0],
        [-1, 0, 7],
        [0, 8, 7],
        [9, 8, 7],
    ]
    settled = torch.tensor([[3, 4, 5]]).expand(4, 3)
    assert _with_history(context, settled).tolist() == [
        [3, 4, 5],
        [4, 5, 7],
        [5, 8, 7],
        [9, 8, 7],
    ]


def test_equal_histories_are_merged():
    """Two paths to the same token leave one hypothesis with the sum of their probabilities."""
    model = random_model("lstm", "stateless", 2, seed=0)
    model.joiner.output_linear.weight.data.zero_()
    model.joiner.output_linear.bias.data.zero_()  # blank and the token equally probable
    search = ModifiedBeamSearch(model, ModifiedBeamConfig(beam=10, length_norm=False))
    state = search.initial_state()
    search.advance(frames(3, 0), [state])
    found = {hyp.history.length: math.exp(hyp.score) for hyp in state.beam}
    assert found == pytest.approx({0: 1 / 8, 1: 3 / 8, 2: 3 / 8, 3: 1 / 8})

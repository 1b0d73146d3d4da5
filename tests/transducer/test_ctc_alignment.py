"""Forced alignment against every path there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from asrlib.transducer.ctc_alignment import align_tokens, fewest_frames

CASES = [(5, (1, 2)), (6, (1, 1)), (6, (2, 1, 2)), (3, (1, 1)), (4, (1, 2, 1, 2)), (1, (2,))]


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token)


def random_log_probs(frames: int, seed: int) -> np.ndarray:
    logits_SV = np.random.default_rng(seed).normal(0, 2, (frames, 3))
    return logits_SV - np.log(np.exp(logits_SV).sum(1, keepdims=True))


@pytest.mark.parametrize(("frames", "tokens"), CASES)
@pytest.mark.parametrize("seed", range(4))
def test_path_is_the_best_of_all(frames, tokens, seed):
    log_probs_SV = random_log_probs(frames, seed)
    spans, score = align_tokens(log_probs_SV, tokens)
    paths = [p for p in itertools.product(range(3), repeat=frames) if collapsed(p) == tokens]
    best = max(paths, key=lambda path: log_probs_SV[range(frames), path].sum())
    assert score == pytest.approx(log_probs_SV[range(frames), best].sum())
    found = [0] * frames
    for token, span in zip(tokens, spans, strict=True):
        found[span.start : span.end] = [token] * (span.end - span.start)
    assert tuple(found) == best
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize(("frames", "tokens"), [(2, (1, 1)), (1, (1, 2)), (4, ())])
def test_what_does_not_fit_is_refused(frames, tokens):
    with pytest.raises(ValueError, match="do not fit"):
        align_tokens(random_log_probs(frames, 0), tokens)


def test_equal_neighbours_need_a_blank():
    assert [fewest_frames(t) for t in ((1,), (1, 2), (1, 1), (1, 1, 1), ())] == [1, 2, 3, 5, 0]

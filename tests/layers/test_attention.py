"""Attention over a bounded past equals what its definition says, frame by frame."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.config import from_dict
from asrlib.encoders import ConformerConfig
from asrlib.errors import ConfigError
from asrlib.layers.attention import CausalSelfAttention, Pieces, by_key, sinusoids


@settings(deadline=None, max_examples=15)
@given(frames=st.integers(1, 20), left=st.integers(1, 6), seed=st.integers(0, 99))
@torch.no_grad()
def test_attention_is_the_softmax_over_the_frames_within_reach(frames, left, seed):
    torch.manual_seed(seed)
    module = CausalSelfAttention(6, 2, left)
    module.content_bias_HK.normal_()
    module.position_bias_HK.normal_()
    x_SD = torch.randn(frames, 6)
    y_BSD, state = module(x_SD.unsqueeze(0), module.initial_state(1, x_SD.device))
    query, key, value = (
        f(x_SD).view(frames, 2, 3) for f in (module.query, module.key, module.value)
    )
    code = module.position(sinusoids(left + 1, 6)).view(left + 1, 2, 3)
    for i in range(frames):
        reach = range(max(0, i - left), i + 1)
        heads = []
        for h in range(2):
            scores = [
                (query[i, h] + module.content_bias_HK[h]) @ key[j, h]
                + (query[i, h] + module.position_bias_HK[h]) @ code[i - j, h]
                for j in reach
            ]
            weights = (torch.stack(scores) / math.sqrt(3)).softmax(0)
            heads.append(weights @ value[list(reach), h])
        torch.testing.assert_close(y_BSD[0, i], module.output(torch.cat(heads)), atol=1e-5, rtol=0)
    assert state.count_B1.item() == min(frames, left)
    assert state.key_BLHK.shape == (1, left, 2, 3)


@settings(deadline=None, max_examples=25)
@given(frames=st.integers(1, 40), left=st.integers(1, 8), dim=st.integers(1, 2))
def test_pieces_see_their_past_and_make_up_the_whole(frames, left, dim):
    pieces = Pieces(frames, left)
    assert pieces.count == 1 or left <= pieces.length < 2 * left
    x_B = torch.randn((2, left + frames, 3) if dim == 1 else (2, 5, left + frames, 3))
    cut_P = pieces.cut(x_B, dim, past=left)
    assert cut_P.shape[0] == 2 * pieces.count
    for b in range(2):
        for i in range(pieces.count):
            start = i * pieces.length
            wanted = x_B[b].narrow(dim - 1, start, min(left + pieces.length, left + frames - start))
            piece = cut_P[b * pieces.count + i]
            assert torch.equal(piece.narrow(dim - 1, 0, wanted.shape[dim - 1]), wanted)
    now_B = x_B.narrow(dim, left, frames)
    assert torch.equal(pieces.join(pieces.cut(now_B, dim), dim), now_B)
    heard_P1 = pieces.heard(torch.tensor([[0.0], [1.0]]))
    starts = [min(left, b + i * pieces.length) for b in range(2) for i in range(pieces.count)]
    assert heard_P1.flatten().tolist() == starts


def test_scores_by_distance_are_those_of_the_keys():
    scores_SL = torch.tensor([[2.0, 1.0, 0.5], [4.0, 3.0, 2.5]])  # of the distances 2, 1, 0
    assert by_key(scores_SL).tolist() == [[2.0, 1.0, 0.5, 0.0], [0.0, 4.0, 3.0, 2.5]]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"heads": 5}, "encoder.heads: 5 does not divide encoder.dim = 144"),
        ({"left_context": 0}, "left_context"),
        ({"kernel": 1}, "kernel"),
        ({"layerz": 2}, "unknown key layerz"),
    ],
)
def test_a_wrong_value_is_named(values, match):
    with pytest.raises(ConfigError, match=match):
        from_dict(ConformerConfig, values)

"""Extractors: padding, level and neighbours in the batch have no effect on an embedding."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from speaker_fakes import ECAPA, NUM_BINS

from asrlib.config import from_dict
from asrlib.errors import ConfigError
from asrlib.speakers.base import SpeakerExtractor
from asrlib.speakers.ecapa import EcapaConfig
from asrlib.speakers.embed import embed_features
from asrlib.speakers.pooling import AttentiveStatsPooling, frame_mask
from asrlib.speakers.resnet import ResNetConfig

CONFIGS = {
    "ecapa": ECAPA,
    "resnet34": ResNetConfig(channels=4, se_reduction=2, attention_dim=4, embedding_dim=6),
}


@lru_cache
def extractor(name: str) -> SpeakerExtractor:
    """In evaluation mode, after a few batches that moved the statistics of its normalisation."""
    torch.manual_seed(1)
    model = CONFIGS[name].build(NUM_BINS)
    for _ in range(3):
        model(3 * torch.randn(6, 50, NUM_BINS) - 4)
    return model.eval()


def utterances(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(len(lengths))
    return [3 * torch.randn(n, NUM_BINS, generator=generator) - 4 for n in lengths]


@pytest.mark.parametrize("name", CONFIGS)
@settings(deadline=None, max_examples=15)
@given(lengths=st.lists(st.integers(1, 70), min_size=1, max_size=5), bound=st.integers(1, 300))
def test_embedding_does_not_depend_on_the_batch(name, lengths, bound):
    model, features = extractor(name), utterances(*lengths)
    with torch.no_grad():
        alone_ND = torch.cat([model(x_TF[None]) for x_TF in features])
    together_ND = embed_features(model, features, max_frames=bound)
    torch.testing.assert_close(together_ND, alone_ND, rtol=1e-4, atol=1e-5)
    assert together_ND.shape == (len(lengths), model.embedding_dim)


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_may_hold_anything(name):
    model = extractor(name)
    x_BTF = torch.stack(utterances(40, 40))
    lengths_B = torch.tensor([40, 23])
    before_BD = model(x_BTF, lengths_B)
    x_BTF[1, 23:] = torch.nan
    torch.testing.assert_close(model(x_BTF, lengths_B), before_BD)


@pytest.mark.parametrize("name", CONFIGS)
def test_level_has_no_effect_but_speech_has(name):
    model = extractor(name)
    first, second = utterances(50, 50)
    a, louder, b = model(torch.stack([first, first + 2.5, second]))
    torch.testing.assert_close(louder, a, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(a, b, atol=1e-2)


@pytest.mark.parametrize("name", CONFIGS)
def test_utterance_without_frames_is_nan_and_the_others_are_not(name):
    vectors_ND = embed_features(extractor(name), utterances(20, 0, 31))
    assert torch.isfinite(vectors_ND).all(dim=1).tolist() == [True, False, True]


@pytest.mark.parametrize("name", CONFIGS)
def test_embeddings_are_float32_under_autocast_too(name):
    with torch.autocast("cpu", torch.bfloat16):
        vectors_ND = embed_features(extractor(name), utterances(20, 31))
    assert vectors_ND.dtype == torch.float32
    assert torch.isfinite(vectors_ND).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_weight_has_a_gradient(name):
    torch.manual_seed(2)
    model = CONFIGS[name].build(NUM_BINS)
    model(torch.randn(4, 40, NUM_BINS)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_pooling_equals_the_loop():
    torch.manual_seed(0)
    pooling = AttentiveStatsPooling(5, 3, context=True).eval()
    x_BDT = torch.randn(2, 5, 9)
    lengths_B = torch.tensor([9, 6])
    pooled = pooling(x_BDT, frame_mask(lengths_B, 9))
    weight = torch.cat([pooling.frames.weight.squeeze(-1), pooling.context.weight], dim=1)
    for x_DT, length, result in zip(x_BDT, lengths_B.tolist(), pooled, strict=True):
        x_DT = x_DT[:, :length]
        context = torch.cat([x_DT.mean(1), x_DT.std(1, unbiased=False)])
        scores = []
        for t in range(length):
            hidden = weight @ torch.cat([x_DT[:, t], context]) + pooling.frames.bias
            hidden = pooling.norm(hidden.relu()[None]).tanh()
            scores.append(pooling.scores(hidden[..., None]).flatten())
        a_DT = torch.stack(scores, dim=1).softmax(dim=1)
        mean_D = (a_DT * x_DT).sum(1)
        std_D = (a_DT * (x_DT - mean_D[:, None]).square()).sum(1).sqrt()
        torch.testing.assert_close(result, torch.cat([mean_D, std_D]), rtol=1e-4, atol=1e-5)


def test_paper_sizes():
    """ECAPA-TDNN with 512 channels has 6.2 M parameters (arXiv 2005.07143), ours with 128 0.6 M."""
    paper = EcapaConfig(channels=512, aggregate_dim=1536, se_dim=128, attention_dim=128)
    sizes = {
        config: sum(p.numel() for p in config.build(80).parameters())
        for config in (paper, EcapaConfig())
    }
    assert 6.1e6 < sizes[paper] < 6.3e6
    assert 0.5e6 < sizes[EcapaConfig()] < 0.7e6


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="not a multiple of res2_scale"):
        from_dict(EcapaConfig, {"channels": 20, "res2_scale": 8})

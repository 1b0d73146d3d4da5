"""The losses equal explicit loops; weights and values that are not finite act as promised."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn import functional

from asrlib.config import from_dict
from asrlib.errors import ConfigError
from asrlib.speakers.losses import (
    AamSoftmax,
    AngularPrototypical,
    SoftmaxLoss,
    SpeakerLossConfig,
)


def embeddings(speakers: int = 5, crops: int = 2, dim: int = 6) -> torch.Tensor:
    return torch.randn(speakers, crops, dim, generator=torch.Generator().manual_seed(3))


def looped(e_SUD, scale: float, bias: float, weights_SS=None) -> list[float]:
    """The angular prototypical loss, written out."""
    losses = []
    for i in range(len(e_SUD)):
        own, terms = 0.0, []
        for j in range(len(e_SUD)):
            prototype_D = e_SUD[j, :-1].mean(dim=0)
            s = scale * float(functional.cosine_similarity(e_SUD[i, -1], prototype_D, dim=0)) + bias
            if j == i:
                own = s
            terms.append((s, 1.0 if weights_SS is None or j == i else float(weights_SS[i, j])))
        losses.append(math.log(sum(w * math.exp(s - own) for s, w in terms)))
    return losses


@pytest.mark.parametrize("crops", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_prototypical_equals_the_loop(crops, weighted):
    e_SUD = embeddings(crops=crops)
    weights_SS = 0.2 + torch.rand(5, 5) if weighted else None
    loss_S = AngularPrototypical()(e_SUD, weights_SS)
    torch.testing.assert_close(loss_S, torch.tensor(looped(e_SUD, 10.0, -5.0, weights_SS)))


def test_prototypical_is_the_cross_entropy_of_the_paper():
    loss = AngularPrototypical()
    e_SUD = embeddings()
    expected_S = functional.cross_entropy(
        loss.similarities(e_SUD), torch.arange(5), reduction="none"
    )
    torch.testing.assert_close(loss(e_SUD), expected_S)
    torch.testing.assert_close(loss(e_SUD, torch.ones(5, 5)), expected_S)


def test_prototypical_depends_on_direction_alone():
    loss, e_SUD = AngularPrototypical(), embeddings()
    torch.testing.assert_close(loss(e_SUD), loss(e_SUD * torch.rand(5, 1, 1).add(0.5)))


def test_loss_rises_with_every_pair_weight_but_the_diagonals():
    weights_SS = torch.ones(5, 5, requires_grad=True)
    loss_S = AngularPrototypical()(embeddings(), weights_SS)
    loss_S.sum().backward()
    own_SS = torch.eye(5, dtype=torch.bool)
    assert (weights_SS.grad[own_SS] == 0).all()
    assert (weights_SS.grad[~own_SS] > 0).all()


def test_weight_of_zero_leaves_the_pair_out_with_finite_gradients():
    e_SUD = embeddings().requires_grad_()
    weights_SS = torch.ones(5, 5)
    weights_SS[:, 4] = 0.0
    loss_S = AngularPrototypical()(e_SUD, weights_SS.requires_grad_())
    torch.testing.assert_close(loss_S[:4], AngularPrototypical()(e_SUD[:4]))
    loss_S.sum().backward()
    assert torch.isfinite(e_SUD.grad).all()
    assert torch.isfinite(weights_SS.grad).all()


def test_speaker_alone_has_no_prototypical_loss():
    assert AngularPrototypical()(embeddings(speakers=1)).tolist() == [0.0]


def test_one_utterance_of_a_speaker_is_no_pair():
    with pytest.raises(ValueError, match="two utterances"):
        AngularPrototypical()(embeddings(crops=1))


def test_aam_equals_the_loop():
    loss = AamSoftmax(6, 7, margin=0.3, scale=20.0)
    e_SUD, classes_S = embeddings(), torch.tensor([0, 6, 2, 2, 5])
    expected = []
    for e_UD, own in zip(e_SUD, classes_S.tolist(), strict=True):
        values = []
        for e_D in e_UD:
            cosines = functional.cosine_similarity(e_D[None], loss.weight_CD, dim=1).tolist()
            angle = math.acos(cosines[own])
            assert angle + 0.3 < math.pi
            logits = [20.0 * c for c in cosines]
            logits[own] = 20.0 * math.cos(angle + 0.3)
            values.append(math.log(sum(map(math.exp, logits))) - logits[own])
        expected.append(sum(values) / len(values))
    torch.testing.assert_close(loss(e_SUD, classes_S), torch.tensor(expected))


def test_aam_falls_as_the_angle_falls_even_beyond_the_margin():
    loss = AamSoftmax(2, 2, margin=0.5, scale=5.0)
    loss.weight_CD.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    angles_N = torch.linspace(0, math.pi, 50)
    e_NUD = torch.stack([angles_N.cos(), -angles_N.sin()], dim=-1).unsqueeze(1)
    e_NUD.requires_grad_()
    own = [loss(e_UD[None], torch.tensor([0])) for e_UD in e_NUD]
    others = 5.0 * (e_NUD[:, 0, 1])
    # from the loss back to the logit of the speaker's own class
    logits = [-math.log(math.expm1(float(v))) + float(o) for v, o in zip(own, others, strict=True)]
    assert all(a > b for a, b in itertools.pairwise(logits))
    torch.cat(own).sum().backward()
    assert torch.isfinite(e_NUD.grad).all()


def test_aam_without_margin_is_a_softmax_of_cosines():
    loss = AamSoftmax(6, 4, margin=0.0, scale=9.0)
    e_SUD, classes_S = embeddings(4), torch.arange(4)
    cosine = functional.normalize(e_SUD, dim=-1) @ functional.normalize(loss.weight_CD, dim=-1).T
    expected = functional.cross_entropy(
        9 * cosine.flatten(0, 1), classes_S.repeat_interleave(2), reduction="none"
    )
    torch.testing.assert_close(loss(e_SUD, classes_S), expected.view(4, 2).mean(1))


def test_softmax_equals_the_loop():
    loss = SoftmaxLoss(6, 4)
    e_SUD, classes_S = embeddings(3), torch.tensor([3, 0, 0])
    expected = [
        torch.stack(
            [functional.cross_entropy(loss.classifier(e_D), c, reduction="none") for e_D in e_UD]
        ).mean()
        for e_UD, c in zip(e_SUD, classes_S, strict=True)
    ]
    torch.testing.assert_close(loss(e_SUD, classes_S), torch.stack(expected))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("crop", [0, 1])
def test_embedding_that_is_not_finite_harms_its_speaker_alone(bad, crop):
    loss = SpeakerLossConfig(softmax=0.5).build(6, 5)
    e_SUD, classes_S = embeddings(), torch.arange(5)
    whole_S = loss(e_SUD[[0, 1, 3, 4]], classes_S[[0, 1, 3, 4]])["total"]
    e_SUD[2, crop, 1] = bad
    total_S = loss(e_SUD, classes_S)["total"]
    assert not math.isfinite(total_S[2])
    torch.testing.assert_close(total_S[[0, 1, 3, 4]], whole_S)


def test_total_adds_the_weighted_parts_and_unused_ones_have_no_weights():
    e_SUD, classes_S = embeddings(), torch.arange(5)
    loss = SpeakerLossConfig(prototypical=2.0, softmax=0.5, aam=0.25).build(6, 5)
    parts = loss(e_SUD, classes_S)
    torch.testing.assert_close(parts["prototypical"], 2 * loss.prototypical(e_SUD))
    torch.testing.assert_close(parts["softmax"], 0.5 * loss.softmax(e_SUD, classes_S))
    torch.testing.assert_close(parts["aam"], 0.25 * loss.aam(e_SUD, classes_S))
    total_S = parts["prototypical"] + parts["softmax"] + parts["aam"]
    torch.testing.assert_close(parts["total"], total_S)
    strangers = loss(e_SUD, None)
    torch.testing.assert_close(strangers["total"], loss.prototypical(e_SUD))
    alone = SpeakerLossConfig(aam=0.0).build(6, 5)
    assert set(alone(e_SUD, classes_S)) == {"prototypical", "total"}
    assert {name for name, _ in alone.named_parameters()} == {
        "prototypical.scale",
        "prototypical.bias",
    }


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"prototypical": 0.0, "aam": 0.0}, "are all 0"),
        ({"aam_margin": 1.7}, "aam_margin"),
        ({"aam": -1.0}, "aam"),
    ],
)
def test_config_without_sense_is_refused(values, named):
    with pytest.raises(ConfigError, match=named):
        from_dict(SpeakerLossConfig, values)

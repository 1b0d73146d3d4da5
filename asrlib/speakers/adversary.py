"""Adversarial reweighting of a speaker extractor's training (arXiv 2207.07776, on ARL, 2006.13114).

The learner, an extractor with its loss, minimises a weighted loss. An adversary computes the
weights of the samples, which are the utterances of a batch, and maximises the same loss, so that
utterances that are hard together get high weights. It needs no groups of speakers.

The text of arXiv 2207.07776 leaves the three variants open; `VARIANTS` says how they are read here.
These are our choices, as are the inputs of the adversary: it sees *detached* embeddings, else the
learner would move them to escape.

Shapes: S speakers of a batch, U utterances of each, N = S * U samples, D width of an embedding,
K regions, I inputs of the adversary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from asrlib.config import configclass
from asrlib.numbers import Count, NonNegative, Positive, PositiveFloat
from asrlib.speakers.losses import SpeakerLoss

Variant = Literal["accumulated", "pseudo_labels", "pairwise"]

_LEAST_MEAN = 1e-4  # of the sigmoids, in ARL's normalisation


@dataclass(frozen=True)
class Reading:
    """How a variant is read.

    Attributes:
        embedding, region: whether the adversary sees the embedding of a sample, and its region.
        pairs: whether weights of pairs enter the logarithm of the prototypical loss; if not, the
            weight of a speaker's samples multiplies the speaker's loss.
    """

    embedding: bool
    region: bool
    pairs: bool


VARIANTS: dict[Variant, Reading] = {
    "accumulated": Reading(embedding=True, region=False, pairs=False),
    "pseudo_labels": Reading(embedding=False, region=True, pairs=False),
    "pairwise": Reading(embedding=True, region=True, pairs=True),
}


@configclass
class ReweightingConfig:
    """Weights of the samples in the training of a speaker extractor: a part of conf/model/speaker.

    Attributes:
        kind: `none`; a variant of `VARIANTS`; or `group_dro` on the
            regions.
        permuted: whether each region receives the weights of another one, as a control. The
            adversary plays on as if its weights were used.
        warmup_steps: number of first steps without weights, in which only the learner learns.
        regions: number of k-means regions of the embedding space.
        utterances: number of utterances of each training speaker whose embeddings form the regions;
            they are embedded at the end of the warm-up and at the start of each later epoch.
        hidden_dim: outputs of the adversary's first layer; 0 for the output layer alone.
        lr: learning rate of the adversary.
        penalty: weight of the mean square of the scores, which the adversary pays out of the
            relative gain in the loss; 0 as in ARL. Without it, scores that fall together without
            end let a few samples gain nearly all of the weight, and the adversary stays there. This
            is our addition.
        step_size, smoothing: eta and alpha of group DRO.
    """

    kind: Literal["none", "accumulated", "pseudo_labels", "pairwise", "group_dro"] = "none"
    permuted: bool = False
    warmup_steps: Count = 200
    regions: Positive = 8
    utterances: Positive = 2
    hidden_dim: Count = 32
    lr: PositiveFloat = 0.001
    penalty: NonNegative = 0.01
    step_size: PositiveFloat = 0.01
    smoothing: NonNegative = 0.0


def arl_weights(scores_X: Tensor) -> Tensor:
    """Return the weights of samples by ARL, divided by their mean, so that it is 1.

    ARL's weights 1 + sigmoid(f_i) / max(mean_j sigmoid(f_j), 1e-4) have mean 2. Divided by it, they
    leave the scale of the gradient as it is without weights. They lie between 1/2 and (N + 1) / 2.
    """
    sigmoid_X = torch.sigmoid(scores_X)
    weights_X = 1.0 + sigmoid_X / sigmoid_X.mean().clamp(min=_LEAST_MEAN)
    return weights_X / weights_X.mean()


def speaker_weights(weights_SU: Tensor) -> Tensor:
    """Return the mean weight (S) of each speaker's samples."""
    return weights_SU.mean(dim=1)


def pair_weights(weights_SU: Tensor) -> Tensor:
    """Return the weight (S, S) of each pair of a query and a prototype.

    It is half the sum of the weights of its two samples, so that weights of 1 give pairs of 1. The
    query is the last utterance of a speaker; a prototype of several utterances has their mean
    weight. See `asrlib.speakers.losses.AngularPrototypical`.
    """
    return (weights_SU[:, -1].unsqueeze(1) + weights_SU[:, :-1].mean(dim=1)) / 2.0


def weighted_loss(
    loss: SpeakerLoss,
    embeddings_SUD: Tensor,
    parts: Mapping[str, Tensor],
    weights_SU: Tensor,
    pairs: bool,
) -> Tensor:
    """Return the weighted loss of a batch as a sum over its speakers.

    Args:
        loss: the loss.
        embeddings_SUD: embeddings of the batch.
        parts: what `loss` returned for them without weights.
        weights_SU: weights of the samples.
        pairs: whether weights of pairs enter the logarithm of the prototypical loss. The weights of
            a speaker's samples then multiply the speaker's other losses only, and else all losses.
    """
    weights_S = speaker_weights(weights_SU)
    if not pairs:
        return (weights_S * parts["total"]).sum()
    pairwise_S = loss.prototypical(embeddings_SUD, pair_weights(weights_SU))
    classified_S = parts["total"] - parts["prototypical"]
    return (loss.config.prototypical * pairwise_S + weights_S * classified_S).sum()


class Adversary(nn.Module):
    """A linear layer, and a linear output: one score f_i of each sample.

    Its output layer starts at 0, so that all weights are equal at first.

    Args:
        input_dim: I.
        hidden_dim: outputs of the first layer; 0 for the output layer alone.
    """

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_dim, hidden_dim) if hidden_dim else nn.Identity()
        self.output = nn.Linear(hidden_dim or input_dim, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, inputs_XI: Tensor) -> Tensor:
        """Return the scores, with the axes of the inputs before the last."""
        return self.output(self.hidden(inputs_XI)).squeeze(-1)


class Opponent:
    """An adversary with its inputs and its optimiser.

    Args:
        variant: the variant.
        dim: D.
        regions: K.
        hidden_dim: see `Adversary`.
        lr: learning rate of Adam.
        seed: seed of the first weights.
        device: device of the adversary.
    """

    def __init__(
        self,
        variant: Variant,
        dim: int,
        regions: int,
        *,
        hidden_dim: int,
        lr: float,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        self.reading = VARIANTS[variant]
        self.regions = regions
        input_dim = dim * self.reading.embedding + regions * self.reading.region
        with torch.random.fork_rng(devices=[]):  # the learner draws the same numbers without it
            torch.manual_seed(seed)
            self.adversary = Adversary(input_dim, hidden_dim).to(device)
        self.optimizer = torch.optim.Adam(self.adversary.parameters(), lr=lr)

    def scores(self, embeddings_SUD: Tensor, regions_SU: Tensor) -> Tensor:
        """Return scores (S, U) of samples, which are differentiable in the adversary alone.

        Args:
            embeddings_SUD: embeddings, whose gradient is cut here; the adversary sees their
                direction only.
            regions_SU: numbers of their regions.
        """
        seen = []
        if self.reading.embedding:
            seen.append(functional.normalize(embeddings_SUD.detach(), dim=-1))
        if self.reading.region:
            seen.append(functional.one_hot(regions_SU, self.regions).to(embeddings_SUD))
        return self.adversary(torch.cat(seen, dim=-1))

    def weights(self, embeddings_SUD: Tensor, regions_SU: Tensor) -> Tensor:
        """Return weights (S, U) of samples, see `scores`."""
        return arl_weights(self.scores(embeddings_SUD, regions_SU))

    def ascend(self, objective: Callable[[], Tensor]) -> None:
        """Make a step that raises `objective`, a weighted loss; the learner gets no gradient."""
        parameters = list(self.adversary.parameters())
        gradients = torch.autograd.grad(-objective(), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {
            "adversary": self.adversary.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.adversary.load_state_dict(state["adversary"])
        self.optimizer.load_state_dict(state["optimizer"])
